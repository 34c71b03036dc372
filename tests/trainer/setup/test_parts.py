"""Engines and learner start in turns where they share GPUs, and side by side where they do not."""

from pathlib import Path

import pytest

from estimators import Unit
from rollout.ray_actors import Call
from rollout.ray_cluster import RayFailed
from rollout.transfer import Meeting
from rollout.weights import PREFIX
from trainer.config.settings import ClusterConfig
from trainer.setup import parts
from trainer.setup.parts import ray_running, start_models

MEET = [("connect 3", 900.0)] * 2  # engines and learner


class Recorded:
    """Engines and a learner that write down what they are asked for, with the limit."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float | None]] = []

    def wait_ready(self, timeout_s: float | None = None) -> None:
        self.events.append(("ready", timeout_s))

    def sleep(self) -> None:
        self.events.append(("sleep", None))

    num_workers = 2

    def meeting(self, *, size: int, timeout_s: float) -> Meeting:
        return Meeting(host="here", size=size, timeout_s=timeout_s)

    def connect(self, meeting: Meeting) -> list[Call]:
        self.events.append((f"connect {meeting.size}", meeting.timeout_s))
        return []

    def join(self, *, layer: int | None, critic: Unit | None, timeout_s: float | None) -> None:
        assert (layer, critic) == (-3, "token")
        self.events.append(("join", timeout_s))


@pytest.mark.parametrize(
    ("cluster", "events"),
    [
        (ClusterConfig(device="cuda", gpus=2, sleep=True), [("ready", 900.0), ("sleep", None), ("join", 900.0)]),
        (ClusterConfig(device="cuda", gpus=2, placement="split"), [("join", 900.0), ("ready", 900.0), *MEET]),
        (ClusterConfig(start_timeout_s=60.0), [("join", 60.0), ("ready", 60.0)]),
    ],
    ids=["shared GPUs", "split GPUs", "CPU"],
)
def test_a_learner_loads_its_models_on_shared_gpus_once_the_engines_sleep(
    cluster: ClusterConfig, events: list[tuple[str, float | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded()
    monkeypatch.setattr("rollout.ray_actors.gather", lambda calls, _: calls)
    start_models(recorded, recorded, cluster, layer=-3, critic="token")  # pyright: ignore[reportArgumentType]
    assert recorded.events == events


def test_every_command_that_starts_ray_first_removes_what_killed_runs_left_in_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(**settings: object) -> None:
        assert list(tmp_path.iterdir()) == []
        raise RayFailed("seen")

    (tmp_path / f"{PREFIX}old").mkdir()
    monkeypatch.setattr(parts, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(parts.ray_cluster, "start", start)
    with pytest.raises(RayFailed, match="seen"), ray_running(ClusterConfig()):
        pass
