"""A fork: a run that begins with a checkpoint of another, on fakes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.policy import Key
from rollout.ray_actors import ActorDied
from tests.fakes import ScriptedPolicy
from tests.trainer.run_stack import Stack, configured, lasting
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.earlier import ForkConfig
from trainer.config.settings import CheckpointConfig
from trainer.report.metric_rows import read_metrics


def forked(config: TrainConfig, output: Path, update: int, **changes: Any) -> ForkConfig:
    """A fork of a run that had this config."""
    settings = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
    return ForkConfig(**{**settings, "output": str(output), **changes}, run=config.output, update=update)


def test_a_fork_goes_on_from_the_old_checkpoint_in_a_folder_of_its_own(tmp_path: Path) -> None:
    whole, fork, other = Stack(), Stack(), Stack()
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9))
    whole.train(config)
    before = tree(tmp_path / "whole")
    fork.train(forked(config, tmp_path / "fork", 2))
    assert fork.learner.word == whole.learner.word
    rows, all_rows = lasting(tmp_path / "fork"), lasting(tmp_path / "whole")
    assert rows == all_rows[3:]
    assert [row["update"] for row in rows] == [3, 4]
    came_from = json.loads((tmp_path / "fork" / "config.json").read_text())
    assert (came_from["run"], came_from["update"]) == (str(tmp_path / "whole"), 2)
    other.train(forked(config, tmp_path / "other", 2, seed=7, updates=5))
    assert other.learner.word != whole.learner.word
    assert [row["update"] for row in read_metrics(tmp_path / "other")] == [3, 4, 5]
    assert tree(tmp_path / "whole") == before


def test_a_fork_whose_learning_rate_would_be_0_before_its_end_is_refused(tmp_path: Path) -> None:
    """The schedule goes on with the steps of the run: 2 updates of 4 and 2 of 1 come to 10."""
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9))
    config = replace(config, learner=replace(config.learner, optimizer_steps=4))
    Stack().train(config)
    learner = replace(config.learner, optimizer_steps=1, decay_steps=4)
    with pytest.raises(ConfigError, match=r"learner.decay_steps=4 .* the run's own 8 .* comes to 10 optimizer steps"):
        Stack().train(forked(config, tmp_path / "short", 2, learner=learner))
    Stack().train(forked(config, tmp_path / "fork", 2, learner=replace(learner, decay_steps=10)))


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", [3, 5])  # before the fork's first checkpoint, and after it
def test_a_fork_that_loses_a_rank_or_is_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path, at: int) -> None:
    whole = Stack()
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9), updates=6)
    whole.train(config)
    struck, killed, again = Stack(), Stack(), Stack()
    struck.learner.faults = {at - 2: ActorDied("learner rank 0 died during learn")}
    struck.train(forked(config, tmp_path / "struck", 2))
    assert struck.learner.word == whole.learner.word
    assert [row["update"] for row in read_metrics(tmp_path / "struck")] == [3, 4, 5, 6]
    killed.learner.dies_at = at - 2
    with pytest.raises(KeyboardInterrupt):
        killed.train(forked(config, tmp_path / "killed", 2))
    again.train(forked(config, tmp_path / "killed", 2, resume="auto"))
    assert again.learner.word == whole.learner.word
    assert lasting(tmp_path / "killed") == lasting(tmp_path / "whole")[3:]


def test_a_fork_whose_run_has_forgotten_the_checkpoint_meanwhile_ends_with_the_remedy(tmp_path: Path) -> None:
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9))
    Stack().train(config)
    fork = Stack()
    fork.learner.faults = {1: ActorDied("learner rank 0 died during learn")}

    def say(key: Key) -> str:
        shutil.rmtree(tmp_path / "whole" / "checkpoints" / "update-000002", ignore_errors=True)
        return fork.engines.say(key)

    fork.policy = ScriptedPolicy(say)
    with pytest.raises(ConfigError, match=r"update-000002 is gone, and this fork, which has no .*checkpoint\.keep"):
        fork.train(forked(config, tmp_path / "fork", 2))
