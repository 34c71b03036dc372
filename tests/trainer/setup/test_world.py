"""The driver's world: splits that can be used, and demonstrations of its training tasks."""

import re
from dataclasses import replace

import pytest

from envs import WORLDS, EnvError
from tests.fakes import CORRIDOR_PROMPTS, Corridor
from trainer.commands import warmstart
from trainer.config.build import ConfigError
from trainer.config.settings import EnvConfig
from trainer.setup.world import World, open_world, world_reference

LEAK = EnvConfig(world="textcraft", train_split="agentgym", validation_split="depth2")


def test_splits_that_overlap_are_refused_by_name_unless_overlap_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"both in env\.train_split='agentgym' .*depth2.* env\.overlap=true"):
        open_world(LEAK)
    world = open_world(EnvConfig(world="textcraft", train_split="agentgym", validation_split="depth2", overlap=True))
    assert world.leaked == set(world.validation)


def test_a_world_of_the_users_own_is_opened_by_its_target_and_its_options_are_typed() -> None:
    own = EnvConfig(world="own", _target_="tests.fakes:CORRIDOR", style="bare")
    world = open_world(own)
    assert (world_reference(own), world.train) == ("tests.fakes:CORRIDOR", ("1", "2", "3", "4"))
    assert world.prompter == CORRIDOR_PROMPTS
    with pytest.raises(EnvError, match=r"corridor has no option 'limit'"):
        open_world(replace(own, options={"limit": 3}))


def test_a_world_of_the_users_own_needs_a_target() -> None:
    with pytest.raises(ConfigError, match=r"env=own names no world yet: set env\._target_=package\.module:SPEC"):
        open_world(EnvConfig(world="own"))


@pytest.mark.parametrize("target", ["???", "corridor"])
def test_a_target_without_a_module_is_refused_with_the_form_it_needs(target: str) -> None:
    message = f"env._target_={target!r} names no module: set env._target_=package.module:SPEC"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        open_world(EnvConfig(world="own", _target_=target))


def corridor(*lengths: str) -> World:
    return World(env=Corridor(), prompter=WORLDS["textcraft"].prompter("bare"), train=lengths, validation=("1",))


def test_a_demonstration_that_the_expert_lost_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corridor, "LIMIT", 2)
    demos = warmstart.play(corridor(*["2"] * 9, "3"), None, seed=0, mistakes=0.0)
    assert [demo.task_id for demo in demos] == ["2"] * 9


def test_the_experts_revisions_follow_its_episodes() -> None:
    demos = warmstart.play(corridor("2", "3"), None, seed=0, mistakes=0.0, revisions=1.0)
    assert [(demo.task_id, demo.attempts is not None) for demo in demos] == [
        ("2", False),
        ("3", False),
        ("2", True),
        ("3", True),
    ]


def test_an_expert_that_loses_more_than_a_tenth_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corridor, "LIMIT", 2)
    with pytest.raises(ConfigError, match=r"the expert lost 1 of 9 tasks, '3' \(seed \d+\) the first: raise the step"):
        warmstart.play(corridor(*["2"] * 8, "3"), None, seed=0, mistakes=0.0)
