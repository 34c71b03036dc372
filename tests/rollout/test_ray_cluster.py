"""Ray starts here whatever lies about on the machine, and joins no cluster but the one that was named."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout import ray_cluster
from rollout.ray_cluster import NoCluster
from tests.other_cluster import other_cluster
from tests.rollout.own_process import run

START_AND_STOP = """
import psutil
from rollout import ray_cluster
ray_cluster.start(num_cpus=3, object_store_bytes=80 * 2**20)
print(ray_cluster.resources()["CPU"])
family = psutil.Process().children(recursive=True)
ray_cluster.stop()
print(len(family) > 2, [process.name() for process in family if process.is_running()])
"""
START_AND_JOIN = """
import sys
from rollout import ray_actors, ray_cluster
ray_cluster.start(num_cpus=1, object_store_bytes=80 * 2**20)  # from here on, Ray sends its token
ray_cluster.stop()
for address in sys.argv[1:]:
    ray_cluster.start(address=address)
    part = ray_actors.spawn("collections:Counter", "joined", spec=ray_actors.ActorSpec())
    print(part.call("total"))
    ray_cluster.stop()
"""
JOIN = """
import sys
from rollout import ray_cluster
try:
    ray_cluster.start(address=sys.argv[1])
    print("joined")
except ray_cluster.NoCluster as error:
    print(error)
"""


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for all that Ray writes; short, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


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
                ray_cluster.start(address=given)


@pytest.mark.parametrize("address", ["nowhere", "localhost:many", "localhost:99999999"])
def test_what_is_no_address_is_refused_as_one(address: str) -> None:
    with pytest.raises(NoCluster, match=f"cluster.address={address}"):
        ray_cluster.check_cluster(address)


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


def test_auto_joins_the_cluster_that_was_named_on_this_machine(asking: str, ray_folder: Path) -> None:
    """By RAY_ADDRESS, or by ray start, and not the Ray that another run has started for itself."""
    own = {"RAY_TMPDIR": str(ray_folder), "RAY_ADDRESS": ""}
    refused = run(JOIN, "auto", **own)
    assert refused.stdout == (
        "cluster.address=auto: no Ray cluster answers there (RAY_ADDRESS is not set, and nobody has called ray start "
        "on this machine); start one with ray start --head, or cluster.address=null to start Ray here\n"
    ), refused.stderr
    assert run(JOIN, "auto", **(own | {"RAY_ADDRESS": asking})).stdout == "joined\n"
    (ray_folder / "ray").mkdir(exist_ok=True)
    (ray_folder / "ray" / "ray_current_cluster").write_text(asking)  # as ray start does
    assert run(JOIN, "auto", **own).stdout == "joined\n"
