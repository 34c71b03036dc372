"""A part that does not start or dies is named with its log, and nothing stays behind."""

import asyncio
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rollout import ray_actors, ray_cluster
from rollout.actor_spec import ActorSpec, Limit
from rollout.held import StartFailed
from rollout.placement import Place
from rollout.ray_actors import ActorDied, ActorTimeout
from tests.rollout.own_process import run

FAIL_AND_DIE = """
import time
from rollout import ray_actors, ray_cluster
ray_cluster.start(num_cpus=2, object_store_bytes=80 * 2**20)
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
ray_cluster.stop()
"""


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
    ray_cluster.start(num_cpus=2, object_store_bytes=2**27)
    yield
    ray_cluster.stop()


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
def test_of_an_error_and_the_death_that_may_have_caused_it_the_death_is_told() -> None:
    """What ranks do together fails in all that are left, and their errors are there before the news of the death."""
    parts = [ray_actors.spawn(Part, "none", spec=spec(number)) for number in range(2)]
    assert ray_actors.gather([part.submit("ready") for part in parts]) == [True, True]
    with pytest.raises(ActorDied, match=r"^engine 1 died during die"):
        ray_actors.gather([parts[0].submit("fail"), parts[1].submit("die")])
    parts[0].kill()


@pytest.mark.usefixtures("ray_session")
def test_an_actor_whose_node_is_gone_died() -> None:
    part = ray_actors.spawn(Part, "none", spec=replace(spec(3), place=Place(node="ab" * 28, devices=("0",))))
    with pytest.raises(ActorDied, match=r"^engine 3 died during ready"):
        part.call("ready")


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
