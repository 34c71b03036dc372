"""The numbers of a table from invented runs, computed by hand."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.tables.conftest import conditions, finished_run
from trainer.config.build import ConfigError
from trainer.report.metric_rows import METRICS
from trainer.report.validations import FILE, read_validations, write_validation
from trainer.tables.config import Row, TableSpec, Together
from trainer.tables.grids import grids
from trainer.tables.latex import latex
from trainer.tables.numbers import TableNumbers, table_numbers
from trainer.tables.report import write_report
from trainer.tables.runs import Run, is_finished, read_run

ROWS = (
    Row(name="grpo", title="GRPO", published={"all": [72.8, 3.6]}, source="arXiv 2505.10978 table 1"),
    Row(name="gigpo", title="GiGPO", published={"all": 86.7}, note="the paper has another prompt"),
)
SPEC = TableSpec(
    title="A table",
    columns={"all": "success", "deep": "success depth 2"},
    rows=ROWS,
    seeds=(0, 1),
    baseline="grpo",
)
Runs = dict[str, dict[int, Run]]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """GRPO solves 2 of 4, then 1 of 4; GiGPO solves 3 of 4 and 4 of 4 at the end."""
    folders = {
        ("grpo", 0): ["", "abc", "ab"],
        ("grpo", 1): ["", "a", "a"],
        ("gigpo", 0): ["a", "ab", "abc"],
        ("gigpo", 1): ["a", "abcd", "abcd"],
    }
    read: Runs = {}
    for (row, seed), solved in folders.items():
        read.setdefault(row, {})[seed] = read_run(finished_run(tmp_path / f"{row}-{seed}", solved, seed=seed))
    return read


def numbers(runs: Runs) -> TableNumbers:
    return table_numbers("mine", SPEC, ROWS, runs, planned=2)


def test_rows_that_played_other_tasks_have_no_difference(runs: Runs) -> None:
    for seed, run in runs["gigpo"].items():
        outcomes = {f"other {task}": one for task, one in (run.outcomes or {}).items()}
        kinds = {f"other {task}": kind for task, kind in run.kinds.items()}
        runs["gigpo"][seed] = replace(run, outcomes=outcomes, kinds=kinds)
    found = numbers(runs)
    assert found.rows[1].baseline is not None
    assert found.rows[1].baseline.columns == {}
    (differences,) = [grid for grid in grids(found) if grid.title == "Differences, all"]
    assert [cell for cell in differences.rows[1][1:] if cell.startswith(("+", "-"))] == []


def test_last_and_best_validations_are_told_apart(runs: Runs) -> None:
    grpo, gigpo = numbers(runs).rows
    assert grpo.columns["all"].last.values == (0.5, 0.25)
    assert grpo.columns["all"].best.values == (0.75, 0.25)
    assert grpo.columns["deep"].best.values == (0.5, 0.0)  # at the update that is best by the first column
    assert (grpo.best_updates, gigpo.best_updates) == ((10, 10), (20, 10))
    assert grpo.columns["all"].last.std == pytest.approx(0.25 / 2**0.5)


def test_a_difference_is_of_equal_seeds_and_equal_tasks(runs: Runs) -> None:
    grpo, gigpo = numbers(runs).rows
    assert (grpo.above, grpo.baseline) == (None, None)
    assert gigpo.above is not None
    assert gigpo.above.columns["all"].values == (0.25, 0.75)
    del runs["grpo"][1]
    _, alone = numbers(runs).rows
    assert alone.above is not None
    assert (alone.above.seeds, alone.above.columns["all"].values) == ((0,), (0.25,))
    assert alone.seeds == (0, 1)


def test_rows_with_something_in_common_are_compared_as_one(tmp_path: Path, runs: Runs) -> None:
    third = Row(name="hgpo", title="HGPO")
    spec = replace(SPEC, rows=(*ROWS, third), together=(Together(title="step credit", rows=("gigpo", "hgpo")),))
    runs["hgpo"] = {seed: read_run(finished_run(tmp_path / f"hgpo-{seed}", ["", "ab"], seed=seed)) for seed in (0, 1)}
    found = table_numbers("mine", spec, spec.rows, runs, planned=2)
    (together,) = found.together
    assert (together.rows, together.baseline.seeds) == (("GiGPO", "HGPO"), (0, 1))
    assert together.baseline.columns["all"].values == (0.125, 0.5)  # (3 + 2) / 8 - 2 / 4 and (4 + 2) / 8 - 1 / 4
    (differences,) = [grid for grid in grids(found) if grid.title == "Differences, all"]
    assert differences.rows[-1][0] == "mean of 2 rows: step credit"
    assert differences.rows[-1][3].startswith("+31.2 \N{PLUS-MINUS SIGN} 26.5 [")
    assert r"mean of 2 rows: step credit & -- & -- & -- & -- & $+31.2\pm 26.5$" in latex(found)
    write_report(tmp_path / "report", found, runs, facts={})
    last = list(csv.DictReader((tmp_path / "report" / "table.csv").read_text().splitlines()))[-2]
    assert (last["title"], last["baseline"], last["baseline_mean"]) == ("mean of 2 rows: step credit", "GRPO", "0.3125")
    alone = table_numbers("mine", spec, spec.rows[:2], runs, planned=2)
    assert alone.together == ()


def test_the_first_update_at_a_success_is_told_with_the_seeds_that_reach_it(runs: Runs) -> None:
    grpo, gigpo = numbers(runs).rows
    assert [reach.updates for reach in grpo.reached] == [(10, None), (None, None), (None, None), (None, None)]
    assert gigpo.reached[0].updates == (10, 10)
    assert gigpo.reached[3].median == 10


def test_seconds_and_tokens_are_sums_over_the_updates(runs: Runs) -> None:
    grpo, _ = numbers(runs).rows
    assert (grpo.seconds, grpo.tokens) == (6.0, 200.0)  # two logged updates of 2 + 1 s and 100 tokens


def test_tokens_of_rollouts_that_were_played_ahead_count_too(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", ["", "a", "a"])
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    del rows[2]["seconds/collect"]  # those of the last update took none of its time
    rows[2]["speed/collect"] = 50.0
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_run(folder).tokens == 200.0


def test_what_differs_between_cells_is_a_footnote_and_what_does_not_is_told_once(tmp_path: Path, runs: Runs) -> None:
    same = numbers(runs)
    assert [text for text in same.footnotes if text.startswith("All rows. Panel: 4 of 4 tasks of textcraft test")]
    assert not any("other packages" in text for text in same.footnotes)
    assert "The paper has another prompt." in same.footnotes
    apart = "Seed {}: before any update rows solved 0.0 and 25.0 %: they began from different starts, or their sampling"
    assert [seed for seed in (0, 1, 2) if any(apart.format(seed) in text for text in same.footnotes)] == [0, 1]
    other = conditions(digest="1" * 64, torch="2.14.0") | {"deviations": ["updates=20, published: 150"]}
    runs["gigpo"][1] = read_run(finished_run(tmp_path / "other", ["a", "ab"], stated=other))
    _, gigpo = (table := numbers(runs)).rows
    own = [table.footnotes[number - 1] for number in gigpo.notes]
    assert "updates=20, published: 150" in own
    assert any("other packages" in text and "torch 2.14.0" in text for text in own)
    assert any("other panel" in text and "1" * 16 in text for text in own)


def test_without_outcomes_by_task_the_interval_is_binomial_and_says_so(tmp_path: Path) -> None:
    runs = {"grpo": {0: read_run(finished_run(tmp_path / "run", ["", "ab"], outcomes=False))}}
    grpo, _ = (table := numbers(runs)).rows
    assert any("binomial" in table.footnotes[number - 1] for number in grpo.notes)
    assert grpo.columns["all"].last.low == pytest.approx(0.15, abs=0.03)  # Wilson, 2 of 4


def test_a_half_finished_table_is_written_whole_with_gaps(tmp_path: Path, runs: Runs) -> None:
    del runs["gigpo"]
    write_report(tmp_path / "report", numbers(runs), runs, facts={"commit": "abc"})
    text = (tmp_path / "report" / "table.md").read_text()
    assert "| GiGPO [3] | \N{EN DASH} | \N{EN DASH} | 0/2 |" in text
    assert "72.8 \N{PLUS-MINUS SIGN} 3.6" in text
    assert "86.7" in text
    raw = json.loads((tmp_path / "report" / "report.json").read_text())
    assert raw["commit"] == "abc"
    assert raw["runs"]["grpo"]["0"]["validations"][-1]["success"] == 0.5
    assert raw["runs"]["grpo"]["0"]["outcomes"]["a"] == [True, 1.0]
    rows = list(csv.DictReader((tmp_path / "report" / "table.csv").read_text().splitlines()))
    assert [(row["row"], row["column"]) for row in rows] == [
        *(("grpo", "all"), ("grpo", "deep"), ("gigpo", "all"), ("gigpo", "deep"))
    ]
    assert (rows[0]["last_mean"], rows[2]["last_mean"], rows[2]["published"]) == ("0.375", "", "86.7")


def test_in_latex_a_table_has_the_published_numbers_and_the_difference_where_there_are_some(runs: Runs) -> None:
    grpo, gigpo = (line for line in latex(numbers(runs)).splitlines() if line.endswith("2/2 \\\\"))
    assert grpo.startswith(r"GRPO & $37.5\pm 17.7$ ")
    assert r" & $72.8\pm 3.6$ & -- & 2/2" in grpo
    assert r" & $86.7$ & $+50.0\pm 35.4$ \scriptsize{[" in gigpo
    ours = replace(SPEC, rows=tuple(replace(row, published={}) for row in ROWS), baseline=None)
    alone = latex(table_numbers("mine", ours, ours.rows, {}, planned=2))
    assert " & all & deep & all, best & seeds " in alone
    assert r"{lrrrr}" in alone
    assert " & -- & -- & -- & 0/2 " in alone


def test_in_latex_no_title_is_an_option_of_the_row_before_it(runs: Runs) -> None:
    titled = replace(SPEC, rows=(replace(ROWS[0], title="[50%] *"), *ROWS[1:]))
    text = latex(table_numbers("mine", titled, titled.rows, runs, planned=2))
    assert "\n{[}50\\%] {*} & " in text


def test_a_report_names_no_place_of_the_machine_that_wrote_it(tmp_path: Path, runs: Runs) -> None:
    output, cells = tmp_path / "report", tmp_path / "other" / "cells"
    facts = {"config": {"output": str(output), "runs": str(cells)}, "read": [str(output / "a"), str(cells / "b")]}
    write_report(output, numbers(runs), runs, facts=facts, cells=cells)
    raw = json.loads((output / "report.json").read_text())
    assert (raw["config"], raw["read"]) == ({"output": ".", "runs": "cells"}, ["a", "cells/b"])


def test_a_run_that_is_not_at_its_last_update_is_not_finished(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", ["", "a"])
    assert is_finished(folder)
    (folder / "config.json").write_text(json.dumps({"updates": 20}))
    assert not is_finished(folder)
    assert not is_finished(tmp_path)


def test_a_validation_that_is_written_again_counts_once_and_a_line_cut_short_counts_for_nothing(tmp_path: Path) -> None:
    write_validation(tmp_path, 10, {"a": (False, 0.0)})
    with (tmp_path / FILE).open("a") as file:
        file.write('{"update": 20, "ta')
    write_validation(tmp_path, 10, {"a": (True, 0.5)})
    assert read_validations(tmp_path) == {10: {"a": (True, 0.5)}}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"columns": {"all": "sucess"}}, "table.columns.all='sucess'"),
        ({"baseline": "ppo"}, "table.baseline='ppo' is no row: choose one of grpo, gigpo"),
        ({"rows": (*ROWS, ROWS[0])}, "give each a name of its own"),
        ({"rows": (Row(name="a", title="A", start="warm"),), "baseline": None}, "start='warm'"),
        ({"rows": (Row(name="a", title="A", published={"al": 1}),), "baseline": None}, "'al', which is no column"),
        ({"rows": (Row(name="a", title="A", published={"all": "x"}),), "baseline": None}, "'x' is no number"),
        ({"seeds": ()}, "table.seeds is empty"),
        ({"together": (Together(title="one", rows=("gigpo",)),)}, "'one' has ['gigpo']: set table.together: []"),
        (
            {"rows": tuple(Row(name=name, title=name) for name in ("grpo", "gigpo", "hgpo"))}
            | {"together": (Together(title="all", rows=("grpo", "gigpo")),)},
            "'all' has ['grpo', 'gigpo']: name a baseline, and two or more of gigpo, hgpo, or set table.together: []",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict[str, object], part: str) -> None:
    whole = {name: getattr(SPEC, name) for name in ("title", "columns", "rows", "seeds", "baseline")}
    with pytest.raises(ConfigError, match=re.escape(part)):
        TableSpec(**(whole | change))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ['{"success": 0.5}', "[]", '{"overall": {"wins": 0, "total": 0}, "by_kind": {}}'])
def test_an_evaluation_of_another_version_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"evaluation\.json is none of this version .*: evaluate again, or"):
        read_run(tmp_path)
