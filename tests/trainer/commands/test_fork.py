"""A fork has the settings of its run unless others are given; what no checkpoint of the run fits is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.commands.conftest import Stepcredit, past_run, refused
from trainer import checksums
from trainer.setup.past_run import settings_to_fork

pytestmark = pytest.mark.usefixtures("no_ray")
FOLDER = Path("run/checkpoints/update-000025")


def test_a_fork_has_the_settings_of_its_run_and_those_that_are_given(stepcredit: Stepcredit, tmp_path: Path) -> None:
    words = ("seed=3", "group_size=4", "env.options.max_steps=7", "learner.loss.kl_coef=0.5", "log.wandb=disabled")
    before = past_run(stepcredit, tmp_path / "run", *words)
    assert stepcredit("fork", "run", "update=25", "learner.learning_rate=0.5", "output=mine").code == 0
    (plan,) = stepcredit.plans
    config = plan.config
    assert (config.run, config.update, len(config.commit)) == (str(tmp_path / "run"), 25, 40)
    assert (config.output, config.learner.learning_rate) == ("mine", 0.5)
    kept = ("seed", "group_size", "env", "model", "engine", "cluster", "estimator", "log", "sampling", "revise")
    assert [getattr(config, name) for name in kept] == [getattr(before, name) for name in kept]
    assert config.learner.loss == before.learner.loss
    folder, state = plan.resumed
    assert (folder, state.update, state.tracking) == (tmp_path / FOLDER, 25, None)


def test_a_fork_may_have_another_estimator_whose_options_are_its_presets(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run", "estimator=bipace", "estimator.gamma=0.5")
    assert stepcredit("fork", "run", "update=25", "estimator=gigpo").code == 0
    assert stepcredit("train", "estimator=gigpo").code == 0
    (_, fork), (_, plain) = stepcredit.runs
    assert fork.estimator == plain.estimator
    assert stepcredit.plans[0].resumed[1].estimator == dict(plain.estimator)


def test_a_fork_keeps_what_its_run_has_calibrated_where_the_option_is_the_same(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run", "estimator=bipace", "estimator.eps=auto")
    file = tmp_path / FOLDER / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"estimator": state["estimator"] | {"eps": 0.125}}))
    for words in ((), ("estimator.gamma=0.5",), ("estimator.eps=0.25",)):
        assert stepcredit("fork", "run", "update=25", *words).code == 0
    estimators = [plan.resumed[1].estimator for plan in stepcredit.plans]
    assert [one["eps"] for one in estimators] == [0.125, 0.125, 0.25]
    assert estimators[1]["gamma"] == 0.5


def test_what_follows_from_the_gpus_of_a_run_follows_from_those_of_its_fork(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run", "cluster.env_workers=5")
    defaults = settings_to_fork(tmp_path / "run")["cluster"]
    assert (defaults["engines"], defaults["ranks"], defaults["env_workers"]) == (None, None, 5)


def test_a_fork_may_have_a_scorer_of_its_own(stepcredit: Stepcredit, tmp_path: Path) -> None:
    past_run(stepcredit, tmp_path / "run")
    assert stepcredit("fork", "run", "update=25", "scorer=milestones", "scorer.weight=2").code == 0
    ((_, fork),) = stepcredit.runs
    assert (fork.scorer["name"], fork.scorer["weight"]) == ("milestones", 2)


def test_forks_can_be_swept(stepcredit: Stepcredit, tmp_path: Path) -> None:
    past_run(stepcredit, tmp_path / "run")
    assert stepcredit("fork", "run", "update=25", "--multirun", "learner.learning_rate=0.5,0.25").code == 0
    configs = [config for _, config in stepcredit.runs]
    assert [config.learner.learning_rate for config in configs] == [0.5, 0.25]
    assert len({config.output for config in configs}) == 2


def test_a_fork_can_be_forked(stepcredit: Stepcredit, tmp_path: Path) -> None:
    past_run(stepcredit, tmp_path / "run", "seed=3")
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"run": "first", "update": 5, "commit": None}))
    assert stepcredit("fork", "run", "update=25").code == 0
    ((_, fork),) = stepcredit.runs
    assert (fork.run, fork.update, fork.seed) == (str(tmp_path / "run"), 25, 3)


def leave(run: Path) -> None:
    del run


def drop_config(run: Path) -> None:
    (run / "config.json").unlink()


def drop_checkpoints(run: Path) -> None:
    (run / "checkpoints/update-000025/state.json").unlink()


def second_checkpoint(run: Path) -> None:
    folder = run / "checkpoints" / "update-000050"
    folder.mkdir()
    (folder / "state.json").write_text((run / "checkpoints/update-000025/state.json").read_text())


def damage(run: Path) -> None:
    checksums.join(run / "checkpoints/update-000025")
    (run / "checkpoints/update-000025/state.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "words", "part"),
    [
        (leave, ("update=30",), "update=30, after which {run} has no checkpoint: choose one of 25"),
        (second_checkpoint, ("update=30",), "has no checkpoint: choose one of 25, 50"),
        (drop_checkpoints, ("update=25",), "update=25, after which {run} has no checkpoint: it has none at all"),
        (leave, (), "update is not set, and a fork of {run} begins after one that has a checkpoint: choose one of 25"),
        (damage, ("update=25",), "update=25, whose checkpoint is damaged (state.json has 2 of"),
        (drop_config, ("update=25",), "{run} is no folder of a run: it has no config.json"),
        (leave, ("update=25", "updates=25"), "has done 25: raise updates to go on"),
        (leave, ("update=25", "model.tiny.layers=2"), "layers=2: set it back, or start anew from its weights"),
        (leave, ("update=25", "learner.lora.rank=4"), "train model.source={run}/checkpoints/update-000025/model"),
        (leave, ("update=25", "learner.zero_stage=2"), "learner.zero_stage=1, this run has learner.zero_stage=2"),
        (leave, ("update=25", "env.options.max_steps=3"), "env.options.max_steps=3: set it back"),
        (leave, ("update=25", "learner.lerning_rate=1"), "did you mean 'learner.learning_rate'?"),
        (leave, ("update=25", "estimator=ppo"), "this run has estimator.name='ppo', which has a critic"),
        (leave, ("update=25", "scorer=implicit"), "was made without scorer implicit, so that it holds no copy of the"),
        (leave, ("update=25", "estimator=gigpoo"), "did you mean 'gigpo'?"),
        (leave, ("update=25", "group_size=1"), "group_size=1"),
        (leave, ("update=0",), "update=0 is out of range: choose 1 or more"),
        (leave, ("update=25", "commit=abc"), "unknown setting commit=abc: the command finds it"),
        (leave, ("update=25", "output=run"), "run already holds a run"),
    ],
)  # fmt: skip
def test_a_fork_that_cannot_be_is_refused_with_the_reason(
    stepcredit: Stepcredit, tmp_path: Path, spoil: Callable[[Path], None], words: tuple[str, ...], part: str
) -> None:
    past_run(stepcredit, tmp_path / "run")
    spoil(tmp_path / "run")
    assert part.format(run=tmp_path / "run") in refused(stepcredit, "fork", "run", *words)


def test_a_fork_of_nothing_is_refused(stepcredit: Stepcredit, tmp_path: Path) -> None:
    assert f"{tmp_path}/nowhere is no folder of a run" in refused(stepcredit, "fork", "nowhere", "update=3")
    assert "a fork begins with one run" in refused(stepcredit, "fork", "--multirun", "run=a,b", "update=3")
    assert "run is not set" in refused(stepcredit, "fork", "update=3")


def test_a_fork_without_a_checkpoint_of_its_own_is_not_begun_as_another_run(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run")
    assert stepcredit("fork", "run", "update=25", "output=mine").code == 0
    (tmp_path / "mine").mkdir()
    values: dict[str, Any] = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "mine" / "config.json").write_text(json.dumps(values | {"run": "run", "update": 25}))
    stepcredit.runs.clear()
    line = refused(stepcredit, "train", "output=mine", "resume=auto")
    assert "mine is a fork that has no checkpoint yet: go on with stepcredit fork run update=25 resume=auto" in line
    assert stepcredit("fork", "run", "update=25", "output=mine", "resume=auto").code == 0
