"""What `stepcredit truth` refuses before an engine starts, and how it names the policy that goes on."""

import json
from contextlib import nullcontext
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.trainer.config.conftest import composed
from trainer.config.build import ConfigError
from trainer.inspect import truth, truth_plan
from trainer.inspect.truth_plan import MonteCarloConfig, MonteCarloPlan, plan_truth
from trainer.report.progress import Display

CORRIDOR = {"world": "corridor", "_target_": "tests.fakes:CORRIDOR", "style": "bare", "history": 6, "options": {}}


@pytest.fixture(autouse=True)
def of_a_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings have a run's settings beside them, and the machine is fit to go on."""
    settings = composed("train")
    settings["env"] |= CORRIDOR
    (run / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(truth_plan, "check_machine", lambda *_, **__: None)


def planned(run: Path) -> MonteCarloPlan:
    return plan_truth(MonteCarloConfig(run=str(run), weights="nobody/knows"))


@pytest.mark.parametrize("left", [0, 50])
def test_a_recording_that_was_cut_short_is_refused_in_one_line(run: Path, left: int) -> None:
    assert [recording.update for recording in planned(run).recordings] == [1, 3]
    broken = run / "rollouts" / "update-000003.jsonl.zst"
    broken.write_bytes(broken.read_bytes()[:left])
    with pytest.raises(ConfigError, match=r"update-000003\.jsonl\.zst is no whole recording .*: delete it") as refused:
        planned(run)
    assert "\n" not in str(refused.value)


def test_the_policy_that_goes_on_is_named_with_its_brackets(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine(*_: object) -> None:
        raise ConfigError("no engine here")

    monkeypatch.setattr(truth, "ray_running", lambda _: nullcontext())
    monkeypatch.setattr(truth, "resolve_model", lambda *_: None)
    monkeypatch.setattr(truth, "started", no_engine)
    plan, printed = planned(run), StringIO()
    model = replace(plan.run.model, source="seed=[b]/[/run]")
    with pytest.raises(ConfigError, match="no engine here"):
        truth.measure_truth(replace(plan, run=replace(plan.run, model=model)), Display(Console(file=printed)))
    assert "starting the engine for seed=[b]/[/run]\n" in printed.getvalue()
