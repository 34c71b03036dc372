"""Ray starts here whatever lies about on the machine, a dead part is named with its log, and nothing stays behind."""

import asyncio
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rollout import ray_actors
from rollout.actor_spec import ActorSpec, Limit
from rollout.held import StartFailed
from rollout.ray_actors import ActorDied, ActorTimeout, NoCluster
from tests.other_cluster import other_cluster

ROOT = Path(__file__).parents[2]
START_AND_STOP = """
import psutil
from rollout import ray_actors
ray_actors.start(num_cpus=3, object_store_bytes=80 * 2**20)
print(ray_actors.resources()["CPU"])
family = psutil.Process().children(recursive=True)
ray_actors.stop()
print(len(family) > 2, [process.name() for process in family if process.is_running()])
"""
FAIL_AND_DIE = """
import time
from rollout import ray_actors
ray_actors.start(num_cpus=2, object_store_bytes=80 * 2**20)
part = ray_actors.spawn("tests.rollout.test_ray_actors:Part", "none", spec=ray_actors.ActorSpec())
calls = [part.submit("fail") for _ in range(3)]
try:
    ray_actors.gather(calls)
except KeyError as error:
    print(repr(error))
del calls
try:
    part.call("die")
except ray_actors.ActorDied:
    time.sleep(3)  # until Ray's own page about it would have come
ray_actors.stop()
"""

START_AND_JOIN = """
import sys
from rollout import ray_actors
ray_actors.start(num_cpus=1, object_store_bytes=80 * 2**20)  # from here on, Ray sends its token
ray_actors.stop()
for address in sys.argv[1:]:
    ray_actors.start(address=address)
    part = ray_actors.spawn("collections:Counter", "joined", spec=ray_actors.ActorSpec())
    print(part.call("total"))
    ray_actors.stop()
"""
JOIN = """
import sys
from rollout import ray_actors
try:
    ray_actors.start(address=sys.argv[1])
except ray_actors.NoCluster as error:
    print(error)
"""


def run(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for all that Ray writes; short, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


# --- where Ray runs -----------------------------------------------------------------------------------------------


def test_ray_starts_here_whatever_the_environment_and_a_dead_cluster_say(ray_folder: Path) -> None:
    (ray_folder / "ray").mkdir()
    (ray_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    ended = run(START_AND_STOP, RAY_ADDRESS="127.0.0.1:6379", RAY_TMPDIR=str(ray_folder))
    assert (ended.returncode, ended.stdout) == (0, "3.0\nTrue []\n"), ended.stderr


def test_an_address_that_nobody_answers_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for given in (address, f"ray://{address}"):
            with pytest.raises(NoCluster, match=rf"cluster.address={given}: no Ray cluster answers there .*refused"):
                ray_actors.start(address=given)


@pytest.mark.parametrize("address", ["nowhere", "localhost:many", "localhost:99999999"])
def test_what_is_no_address_is_refused_as_one(address: str) -> None:
    with pytest.raises(NoCluster, match=f"cluster.address={address}"):
        ray_actors.check_cluster(address)


@pytest.fixture(scope="module")
def asking() -> Iterator[str]:
    """The address of a cluster that asks for a token."""
    with other_cluster(auth="token") as address:
        yield address


def test_a_token_is_sent_to_the_clusters_that_ask_for_one_and_to_no_other(asking: str) -> None:
    """Ray sends it to each once it has started a cluster itself, and then ends every actor where none is asked for."""
    with other_cluster(auth="disabled") as other:
        joined = run(START_AND_JOIN, asking, other)
    assert (joined.returncode, joined.stdout) == (0, "6\n6\n"), joined.stderr
    assert "InvalidAuthToken" not in joined.stderr


def test_a_cluster_that_asks_for_a_token_says_how_to_give_it(asking: str, tmp_path: Path) -> None:
    """Ray itself says only that it failed to connect, and hides why in the cause."""
    joined = run(JOIN, asking, HOME=str(tmp_path))
    assert joined.stdout == (
        f"cluster.address={asking} cannot be joined: it asks for a token, so put its token into ~/.ray/auth_token\n"
    ), joined.stderr


# --- parts that do not start, and parts that die ------------------------------------------------------------------


class Part:
    """A part of a run that breaks on demand. trouble: where."""

    def __init__(self, trouble: str) -> None:
        if trouble == "constructor":
            raise ImportError("no module named 'moon'\n  at line 3")
        self.trouble = trouble

    def ready(self) -> bool:
        if self.trouble == "ready":
            raise ZeroDivisionError("10 layers over 0 ranks")
        return True

    def pid(self) -> int:
        return os.getpid()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(self) -> None:
        raise KeyError(7)

    def hang(self) -> None:
        time.sleep(3600)


class AsyncPart(Part):
    """The same with async methods."""

    async def ready(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().ready()

    async def hang(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        await asyncio.sleep(3600)

    async def die(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().die()

    async def fork(self) -> tuple[int, int]:
        """Start a process as vLLM does. Returns this process and that one."""
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
        child.start()
        assert child.pid is not None
        return os.getpid(), child.pid

    async def fail_locally(self) -> None:
        class Local(ValueError):
            """A class that no other process can import."""

        raise Local("a lock")


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    ray_actors.start(num_cpus=2, object_store_bytes=2**27)
    yield
    ray_actors.stop()


def spec(number: int, *, concurrency: int = 1) -> ActorSpec:
    return ActorSpec(name=f"engine {number}", start=("ready",), concurrency=concurrency)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("kind", "concurrency"), [(Part, 1), (AsyncPart, 10)])
def test_a_part_that_does_not_start_says_why_in_one_line_and_where_its_log_lies(
    kind: type[Part], concurrency: int
) -> None:
    for trouble, why in (
        ("constructor", "ImportError: no module named 'moon' at line 3"),
        ("ready", "ZeroDivisionError: 10 layers over 0 ranks"),
    ):
        part = ray_actors.spawn(kind, trouble, spec=spec(3, concurrency=concurrency))
        with pytest.raises(StartFailed) as caught:
            part.call("ready")
        line = str(caught.value)
        assert line.startswith(f"engine 3 did not start: {why}; its log is /")
        log = Path(re.split("its log is ", line)[1])
        assert "Traceback" in log.read_text()
        assert f"builtins.{why.partition(':')[0]}" in caught.value.kinds
        part.kill()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("kind", "concurrency"), [(Part, 1), (AsyncPart, 10)])
def test_a_part_that_dies_is_named_with_its_log(kind: type[Part], concurrency: int) -> None:
    parts = [ray_actors.spawn(kind, "none", spec=spec(number, concurrency=concurrency)) for number in range(2)]
    assert ray_actors.gather([part.submit("ready") for part in parts]) == [True, True]
    with pytest.raises(ActorDied) as caught:
        ray_actors.gather([parts[0].submit("ready"), parts[1].submit("die")])
    name, log = str(caught.value).split("; its log is ")
    assert name == "engine 1 died during die"
    assert Path(log).is_file()
    parts[0].kill()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("kind", "concurrency"), [(Part, 1), (AsyncPart, 10)])
def test_a_part_that_is_stuck_is_named_with_the_call_its_log_and_the_setting(
    kind: type[Part], concurrency: int
) -> None:
    """Without a limit of its own a call has that of its part."""
    limits = {"hang": Limit(seconds=0.2, setting="engine.response_timeout_s")}
    long = Limit(seconds=600.0, setting="engine.timeout_s")
    part = ray_actors.spawn(kind, "none", spec=replace(spec(3, concurrency=concurrency), limit=long, limits=limits))
    assert part.call("ready")
    line = r"no answer of engine 3 to hang within 0.2 s; the log .* is (/.*); if .* raise engine.response_timeout_s$"
    with pytest.raises(ActorTimeout, match=line):
        part.call("hang")
    with pytest.raises(ActorTimeout, match=line):
        asyncio.run(part.acall("hang"))
    part.kill()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("kind", "concurrency"), [(Part, 1), (AsyncPart, 10)])
def test_an_error_after_the_start_stays_what_it_is(kind: type[Part], concurrency: int) -> None:
    part = ray_actors.spawn(kind, "none", spec=spec(0, concurrency=concurrency))
    assert len(set(ray_actors.gather([part.submit("pid") for _ in range(20)]))) == 1
    with pytest.raises(KeyError, match="7"):
        part.call("fail")
    if kind is AsyncPart:
        with pytest.raises(RuntimeError, match=r"^Local: a lock$"):
            part.call("fail_locally")
    assert part.call("ready")
    part.kill()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("killed", ["actor", "object"])
def test_nothing_is_left_of_an_actor_even_where_its_object_hangs(killed: str) -> None:
    part = ray_actors.spawn(AsyncPart, "none", spec=spec(0, concurrency=10))
    held, forked = part.call("fork")
    family = [psutil.Process(pid) for pid in (part.pid, held, forked)]
    if killed == "actor":
        family[1].suspend()
        part.kill()
    else:
        family[1].kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    with pytest.raises(ActorDied):
        part.call("ready")


def test_of_calls_that_fail_together_one_is_raised_and_nothing_is_printed_nor_of_a_death() -> None:
    ended = run(FAIL_AND_DIE)
    assert (ended.stdout, ended.stderr) == ("KeyError(7)\n", "")
