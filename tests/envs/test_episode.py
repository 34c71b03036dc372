"""The base class for worlds whose whole episode is one record."""

from dataclasses import dataclass, replace

import pytest

from envs import Ending, EnvError, EnvStep, Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """An episode that ends after two steps."""

    task_id: str
    turns: int
    last: EnvStep


class Counter(Episode[Count]):
    name = "counter"

    def reset(self, task_id: str) -> EnvStep:
        return self.restore(Count(task_id=task_id, turns=0, last=EnvStep(observation="0", state_key="0")))

    def step(self) -> EnvStep:
        now = self.playing()
        turns = now.turns + 1
        last = EnvStep(observation=f"{turns}", state_key=f"{turns}", ending=Ending.LIMIT if turns == 2 else None)
        return self.restore(replace(now, turns=turns, last=last))


def test_a_step_out_of_turn_is_refused_with_the_worlds_name_and_the_task() -> None:
    world = Counter()
    with pytest.raises(EnvError, match=r"^no episode is under way; reset counter with a task id first$"):
        world.step()
    with pytest.raises(EnvError, match="no episode is under way"):
        world.is_over()
    world.reset("a")
    world.step()
    world.step()
    with pytest.raises(EnvError, match=r"^the episode of a ended \(limit\); reset before the next step$"):
        world.step()
    world.close()
    with pytest.raises(EnvError, match="no episode is under way"):
        world.snapshot()


def test_two_instances_hold_two_episodes_and_a_snapshot_goes_from_one_to_the_other() -> None:
    one, other = Counter(), Counter()
    one.reset("a")
    first = one.step()
    saved = one.snapshot()
    with pytest.raises(EnvError, match="no episode is under way"):
        other.snapshot()
    assert other.restore(saved) == first
    assert other.step().observation == "2"
    assert (one.is_over(), other.is_over()) == (False, True)
    assert one.snapshot() is saved
