"""A report keeps all that a table reads of a run, so that the run's folder may be gone."""

import json
from pathlib import Path

import pytest

from tests.trainer.tables.conftest import TASKS, finished_run
from trainer.config.build import ConfigError
from trainer.tables.recorded import raw, recorded_runs
from trainer.tables.runs import read_run


@pytest.mark.parametrize("outcomes", [True, False])
def test_a_run_comes_back_from_a_report_as_it_was(tmp_path: Path, outcomes: bool) -> None:
    run = read_run(finished_run(tmp_path / "cell", ["a", "abd"], seed=3, outcomes=outcomes))
    report = tmp_path / "seed-3.json"
    report.write_text(json.dumps({"table": {}, "runs": {"grpo": {"3": raw(run)}}}))
    assert recorded_runs(report) == (run,)
    assert run.kinds == TASKS
    assert (run.outcomes is not None) == outcomes


def test_another_json_file_holds_no_runs(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"name": "laptop", "cells": {}}')
    assert recorded_runs(tmp_path / "table.json") == ()


@pytest.mark.parametrize("text", ["{", '{"table": {}, "runs": []}', '{"table": {}, "runs": {"grpo": {"0": {}}}}'])
def test_a_broken_report_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match=r"report\.json is a broken report .*: bring a whole one back"):
        recorded_runs(tmp_path / "report.json")
