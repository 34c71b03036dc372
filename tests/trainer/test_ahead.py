"""Rollouts that are played one update ahead: when, of which policy, and what becomes of them when something is lost."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rollout.policy import Key
from rollout.seats import EnginesLost
from tests.fakes import ScriptedPolicy, plain
from tests.trainer.run_stack import Stack, configured, defaults, lasting
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.settings import CheckpointConfig
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display


def one_ahead(output: Path, **changes: Any) -> TrainConfig:
    """A checkpoint every third update."""
    learner = defaults().learner
    learner = replace(learner, optimizer_steps=2, loss=replace(learner.loss, importance_cap=2.0))
    return configured(output, **{"ahead": 1, "learner": learner, "updates": 6, "checkpoint": EVERY_THIRD, **changes})


EVERY_THIRD = CheckpointConfig(every=3, keep=3)


def staleness(output: Path) -> list[float]:
    return [row["rollout/staleness"] for row in read_metrics(output) if row["update"] > 0]


def test_rollouts_are_of_the_policy_before_but_after_a_checkpoint(tmp_path: Path) -> None:
    stack = Stack()
    stack.train(one_ahead(tmp_path))
    assert staleness(tmp_path) == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    rows = [row for row in read_metrics(tmp_path) if row["update"] > 0]
    assert ["seconds/collect" in row for row in rows] == [True, False, False, True, False, False]
    assert all(row["speed/collect"] > 0 and row["seconds/wait"] >= 0 for row in rows)


def test_they_have_ended_before_the_weights_are_published(tmp_path: Path) -> None:
    """A policy that answers late answers before the publish all the same."""
    stack = Stack()

    async def late(_: Key) -> None:
        await asyncio.sleep(0.005)

    stack.policy = ScriptedPolicy(stack.engines.say, before=late, version=lambda: stack.engines.version)
    stack.train(one_ahead(tmp_path))
    assert staleness(tmp_path) == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]


def test_rollouts_that_were_played_ahead_are_counted_in_the_bar_of_their_update(tmp_path: Path) -> None:
    counted: dict[str, int] = {}

    class Watched(Display):
        @contextmanager
        def counting(self, what: str, total: int) -> Iterator[Any]:
            counted[what] = 0
            yield SimpleNamespace(advance=lambda: counted.update({what: counted[what] + 1}))

    Stack().train(one_ahead(tmp_path), Watched(Console(quiet=True)))
    assert [counted[f"rollouts of update {number}"] for number in range(1, 7)] == [6] * 6


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, killed, resumed = Stack(), Stack(), Stack()
    whole.train(one_ahead(tmp_path / "whole"))
    killed.learner.dies_at = 5
    with pytest.raises(KeyboardInterrupt):
        killed.train(one_ahead(tmp_path / "cut", resume="auto"))
    resumed.train(one_ahead(tmp_path / "cut", resume="auto"))
    assert resumed.learner.word == whole.learner.word
    asked = plain(resumed.policy.asked)
    assert asked == plain(whole.policy.asked)[-len(asked) :]
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def test_rollouts_that_are_lost_with_an_engine_are_played_again_from_their_seeds_by_the_next_policy(
    tmp_path: Path,
) -> None:
    stack, lost = Stack(), list[Key]()

    def say(key: Key) -> str:
        if not stack.engines.replaces and stack.engines.version == 1 and not lost:
            lost.append(key)
            raise EnginesLost("no engine is started anew while the learner works")
        return stack.engines.say(key)

    stack.policy = ScriptedPolicy(say, version=lambda: stack.engines.version)
    stack.train(one_ahead(tmp_path))
    assert lost
    assert staleness(tmp_path) == [0.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def test_a_run_that_is_interrupted_ends_what_is_played_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, begun, cancelled = Stack(), threading.Event(), list[Key]()

    async def forever_when_ahead(key: Key) -> None:
        if not stack.engines.replaces:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(key)

    def interrupted(*_: Any, **__: Any) -> None:
        assert begun.wait(60)
        raise KeyboardInterrupt

    stack.policy = ScriptedPolicy("go", before=forever_when_ahead)
    monkeypatch.setattr(stack.learner, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stack.train(one_ahead(tmp_path))
    assert stack.engines.replaces
    assert cancelled


def test_revisions_are_played_ahead_as_well(tmp_path: Path) -> None:
    Stack().train(one_ahead(tmp_path, estimator={"name": "ibpo"}))
    rows = [row for row in read_metrics(tmp_path) if row["update"] > 0]
    assert ["seconds/revise" in row for row in rows] == [True, False, False, True, False, False]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine": replace(defaults().engine, sleep=True)}, "ahead=1 with engines that sleep"),
        ({"learner": defaults().learner}, "ahead=1 with learner.loss.importance_cap=None"),
    ],
)
def test_a_run_that_could_not_play_ahead_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        one_ahead(tmp_path, **changes)
