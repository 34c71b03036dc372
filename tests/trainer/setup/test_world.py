"""The driver's world: splits that can be used, and demonstrations of its training tasks."""

import pytest

from envs.prompts import prompter
from tests.fakes import Corridor
from trainer.commands import warmstart
from trainer.config.build import ConfigError
from trainer.config.commands import EnvConfig
from trainer.setup.world import World, open_world

LEAK = EnvConfig(world="textcraft", train_split="agentgym", validation_split="depth2")


def test_splits_that_overlap_are_refused_by_name_unless_overlap_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"both in env\.train_split='agentgym' .*depth2.* env\.overlap=true"):
        open_world(LEAK)
    world = open_world(EnvConfig(world="textcraft", train_split="agentgym", validation_split="depth2", overlap=True))
    assert world.leaked == set(world.validation)


def corridor(*lengths: str) -> World:
    return World(env=Corridor(), prompter=prompter("textcraft", "bare"), train=lengths, validation=("1",))


def test_a_demonstration_that_the_expert_lost_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corridor, "LIMIT", 2)
    played = warmstart.play(corridor(*["2"] * 9, "3"), None, seed=0, mistakes=0.0)
    assert [demo.task_id for demo in played] == ["2"] * 9


def test_an_expert_that_loses_more_than_a_tenth_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corridor, "LIMIT", 2)
    with pytest.raises(ConfigError, match=r"the expert lost 1 of 9 tasks, '3' \(seed \d+\) the first: raise the step"):
        warmstart.play(corridor(*["2"] * 8, "3"), None, seed=0, mistakes=0.0)
