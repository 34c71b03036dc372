"""The inspector's command line, and what it refuses before anything is computed."""

import shutil
from pathlib import Path

import pytest

from tests.trainer.commands.conftest import Stepcredit, past_run, refused
from tests.trainer.commands.test_lab_command import recorded_run

pytestmark = pytest.mark.usefixtures("no_ray")


def test_the_first_word_of_an_inspection_is_its_run_and_a_page_is_its_output(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    run = recorded_run(tmp_path / "run")
    assert stepcredit("inspect", str(run), "estimators=[gigpo,{name:bipace,eps:0.2}]", "updates=[3]").code == 0
    ((_, config),) = stepcredit.runs
    assert (config.run, config.updates) == (str(run), (3,))
    assert list(stepcredit.plans[0].estimators) == ["gigpo", "bipace eps=0.2"]
    assert config.output.endswith(".html")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("updates=[2]",), "updates: 2 is not recorded in "),
        (("updates=[]",), "updates=[]: give one or more, each once, or null for all"),
        (("estimators=[]",), "estimators=[] leaves nothing to show"),
        (("estimators=[gigppo]",), "estimator 'gigppo' is unknown: did you mean 'gigpo'?"),
        (("estimators=[ppo]",), "estimator 'ppo' needs the columns ['values'], which recorded rollouts have not"),
        (("estimators=[bipace]",), "estimator 'bipace' needs hidden states, which "),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    run = recorded_run(tmp_path / "run", embeddings=False)
    assert said in refused(stepcredit, "inspect", str(run), *words)


def test_a_page_is_served_by_a_flag_for_the_newest_update(stepcredit: Stepcredit, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    assert stepcredit("inspect", str(run), "--serve", "port=0").code == 0
    ((_, config),) = stepcredit.runs
    assert (config.serve, config.port) == (True, 0)
    assert [one.update for one in stepcredit.plans[0].recordings] == [3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--serve", "updates=[3]"), "serve=true shows the newest update: leave updates=[3] or serve out"),
        (("port=9000",), "port=9000 without serve=true, which alone opens one: add --serve"),
        (("--serve", "port=99999"), "port=99999"),
    ],
)
def test_what_does_not_go_with_a_served_page_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(stepcredit, "inspect", str(recorded_run(tmp_path / "run")), *words)


def test_a_world_of_known_truth_is_not_served(stepcredit: Stepcredit) -> None:
    assert "serve=true follows a run" in refused(stepcredit, "inspect", "world=delay", "--serve")


def test_a_folder_without_records_is_refused_with_how_to_keep_them(stepcredit: Stepcredit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in ((), ("--serve",)):
        line = refused(stepcredit, "inspect", "empty", *words)
        assert "holds no recorded rollouts" in line
        assert "record=embeddings" in line


def test_a_truth_is_estimated_by_the_runs_newest_export_or_by_weights_that_are_named(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run", "env=textcraft", "model=tiny")
    recorded_run(tmp_path / "run")
    assert "is no Hugging Face folder: it has no config.json" in refused(stepcredit, "truth", "run")
    assert stepcredit("truth", "run", "weights=tiny", "continuations=4").code == 0
    (plan,) = stepcredit.plans
    assert (plan.run.model.source, plan.run.env.world, len(plan.recordings)) == ("tiny", "textcraft", 1)


def test_a_truth_that_nothing_can_go_on_to_is_refused(stepcredit: Stepcredit, tmp_path: Path) -> None:
    recorded_run(tmp_path / "bare")
    assert "is no folder of a run: it has no config.json" in refused(stepcredit, "truth", "bare")
    past_run(stepcredit, tmp_path / "run")
    recorded_run(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "has no export that could go on with its rollouts: give weights=FOLDER" in refused(
        stepcredit, "truth", "run"
    )
    assert "updates: 7 is not recorded" in refused(stepcredit, "truth", "run", "updates=[7]")
    assert "continuations=1" in refused(stepcredit, "truth", "run", "weights=tiny", "continuations=1")
