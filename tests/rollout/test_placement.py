"""On invented GPUs: engines share the learner's, ranks never share, and what cannot be placed is said in time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rollout import engines, ray_cluster
from rollout.actor_spec import ActorSpec
from rollout.engines import EngineConfig, Engines
from rollout.placement import NoPlace, Place, engine_places
from rollout.ray_actors import ActorTimeout, Remote, gather, spawn
from tests.rollout.stand_ins import Rank
from trainer.config.learner import LearnerConfig
from trainer.learner import driver
from trainer.learner.driver import Learner

GPUS = 4


@pytest.fixture(scope="module")
def invented_gpus() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        ray_cluster.start(num_cpus=2, num_gpus=GPUS, object_store_bytes=2**27)
        yield
        ray_cluster.stop()


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "RANK", "tests.rollout.stand_ins:Rank")
    monkeypatch.setattr(engines, "ENGINE", "tests.rollout.stand_ins:Engine")


def ranks(world_size: int) -> Learner:
    return Learner.reserve(LearnerConfig(world_size=world_size, device="cuda"), "folder")


def serving(count: int, tensor_parallel: int = 1, places: Sequence[Place] = ()) -> Engines:
    config = EngineConfig(count=count, device="cuda", tensor_parallel=tensor_parallel)
    return Engines("folder", config, context=512, places=places)


def devices(actors: Sequence[Remote]) -> list[str]:
    """What each actor's process sees."""
    return gather([actor.submit("devices") for actor in actors], timeout_s=120)


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_ranks_alone_have_a_gpu_each() -> None:
    learner = ranks(GPUS)
    assert sorted(devices(learner.ranks)) == ["0", "1", "2", "3"]
    learner.close()


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_an_engine_has_the_gpu_of_its_rank() -> None:
    learner = ranks(GPUS)
    serve = serving(GPUS, places=learner.places)
    assert devices(serve.remotes) == devices(learner.ranks)
    serve.close()
    learner.close()


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_an_engine_that_spans_two_gpus_has_those_of_two_ranks() -> None:
    learner = ranks(GPUS)
    serve = serving(2, 2, places=learner.places)
    own = devices(learner.ranks)
    assert devices(serve.remotes) == [f"{own[0]},{own[1]}", f"{own[2]},{own[3]}"]
    serve.close()
    learner.close()


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_split_engines_and_ranks_have_no_gpu_in_common() -> None:
    learner, serve = ranks(2), serving(1, 2)
    seen = ",".join([*devices(serve.remotes), *devices(learner.ranks)]).split(",")
    assert sorted(seen) == ["0", "1", "2", "3"]
    serve.close()
    learner.close()


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_more_ranks_than_the_cluster_has_gpus_are_refused_at_once() -> None:
    with pytest.raises(NoPlace, match=r"learner rank 0 to learner rank 4 ask for 1 GPUs each .* room for 4 of these 5"):
        ranks(5)


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_an_engine_wider_than_a_node_is_refused_at_once() -> None:
    with pytest.raises(NoPlace, match=r"ask for 8 GPUs each on one node.*\(4 GPUs on its nodes\)"):
        serving(1, 8)


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_gpus_that_others_hold_are_an_error_within_the_limit_that_says_what_the_cluster_has() -> None:
    other = spawn(Rank, LearnerConfig(), 0, spec=ActorSpec(name="another run", num_gpus=3))
    gather([other.ask_place()], timeout_s=120)
    message = (  # the rank that has a GPU may not have started within the limit either, on a busy machine
        r"Ray found no place for (learner rank \d within 5 s: asked for 1 GPUs|"
        r"learner rank 0, learner rank 1 within 5 s: asked for 2 GPUs), and the cluster has 4, 0 of them free"
    )
    with pytest.raises(ActorTimeout, match=message):
        Learner.reserve(LearnerConfig(world_size=2, device="cuda"), "folder", timeout_s=5)
    other.kill()


@pytest.mark.usefixtures("invented_gpus", "stand_ins")
def test_an_engine_that_never_gets_ready_is_an_error_within_the_limit_that_names_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "ENGINE", "tests.rollout.stand_ins:HangingEngine")
    serve = serving(1)
    devices(serve.remotes)
    with pytest.raises(
        ActorTimeout, match=r"no answer of engine 0 to ready within 0.1 s; the log of engine 0 is (/.*)"
    ) as late:
        serve.wait_ready(timeout_s=0.1)
    assert Path(str(late.value).rpartition(" is ")[2]).is_file()
    serve.close()


def on(*nodes: str) -> list[Place]:
    """The places of ranks, in their order: "a0" is GPU 0 of node a."""
    return [Place(node=name[0], devices=(name[1:],)) for name in nodes]


def test_an_engine_stays_on_one_node_however_ray_numbered_the_ranks() -> None:
    places = engine_places(on("a0", "b0", "a1", "b1"), engines=2, tensor_parallel=2)
    assert places == (Place(node="a", devices=("0", "1")), Place(node="b", devices=("0", "1")))


def test_fewer_engines_than_ranks_take_the_first_gpus() -> None:
    assert engine_places(on("a0", "a1", "a2"), engines=1, tensor_parallel=1) == (Place(node="a", devices=("0",)),)


def test_an_engine_that_would_span_two_nodes_is_refused() -> None:
    with pytest.raises(NoPlace, match=r"cluster.engines=2 .* 3, 1 of each node, have room for 1 engines"):
        engine_places(on("a0", "a1", "a2", "b0"), engines=2, tensor_parallel=2)
