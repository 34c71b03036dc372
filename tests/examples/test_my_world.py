"""examples/my_world/ is a world that keeps the contract."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from envs import EnvError, make

FOLDER = Path(__file__).parents[2] / "examples" / "my_world"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Its YAML, with its folder where Python looks for modules."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return yaml.safe_load((FOLDER / "configs" / "env" / "my_world.yaml").read_text())


def test_its_expert_wins_every_task_and_the_splits_are_disjoint(config: dict[str, Any]) -> None:
    world = make(config["_target_"], **config["options"])
    train, test = world.tasks(config["train_split"]), world.tasks(config["validation_split"])
    assert len({*train, *test}) == len(train) + len(test) == 31
    for task in [*train, *test]:
        assert world.reset(task, seed=3) == world.reset(task)
        steps = [world.step(action) for action in world.expert()]
        assert steps[-1].won
        assert len(steps) <= 5  # bisection of 31 numbers
        with pytest.raises(EnvError, match="ended"):
            world.step("guess 1")


def test_what_is_still_possible_is_the_state(config: dict[str, Any]) -> None:
    world = make(config["_target_"], **config["options"])
    world.reset("number-5")
    assert [world.step(action).state_key for action in ("guess 8", "guess 9", "what?", "guess 2")] == [
        "1-7",
        "1-7",
        "1-7",
        "3-7",
    ]


def test_an_option_out_of_range_is_refused_with_the_remedy(config: dict[str, Any]) -> None:
    with pytest.raises(EnvError, match="largest=1: give a number from 2 to 999"):
        make(config["_target_"], largest=1)
