"""A table's cells are run once each, in whole seeds; what is missing or fails is told; the report grows with them."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainer.cells.cell import Cell
from trainer.cells.launch import Here
from trainer.commands.paper_table import TablePlan, plan_table, run_table
from trainer.config.build import ConfigError
from trainer.report.progress import Display
from trainer.tables.begun import begin, check_begun
from trainer.tables.config import Row, Start, TableConfig, TableSpec
from trainer.tables.planned import merged, planned_rows

ROOT = Path(__file__).parents[3]
# Stands for `stepcredit`: leaves a finished run or a model, or fails as the word do=... says; a file has all calls.
PROGRAM = """
import pathlib, sys
from tests.trainer.tables.conftest import finished_run
words = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
folder = pathlib.Path(words["output"].strip("'"))
with (folder.parent / "told").open("a") as told:
    told.write(f"{sys.argv[1]} {words.get('do', '-')} {words['seed']}\\n")
if sys.argv[1] == "warmstart":
    (folder / "model").mkdir(parents=True)
elif words["do"] == "fail" and not (folder.parent / "mended").exists():
    sys.exit("stepcredit: an engine died")
else:
    assert "endpoint" in words or "model.source" not in words or pathlib.Path(words["model.source"].strip("'")).is_dir()
    solved = "".join(sorted({*"ab", *words["do"]} & set("abcd")))
    finished_run(folder, ["", solved], seed=int(words["seed"]))
"""
ROWS = (
    Row(name="first", title="First", overrides=("do=c",), start="warm"),
    Row(name="second", title="Second", overrides=("do=fail",)),
    Row(name="third", title="Third", overrides=("do=d",)),
)
SPEC = TableSpec(
    title="A table",
    columns={"all": "success"},
    rows=ROWS,
    seeds=(0, 1),
    starts=(Start(name="warm", overrides=("epochs=1",)),),
)


def config(output: Path, *, name: str = "mine", **changes: object) -> TableConfig:
    return replace(TableConfig(name=name, output=str(output), table=SPEC), **changes)  # pyright: ignore


def plan(config: TableConfig, *missing: str) -> TablePlan:
    """A plan without Hydra; `missing` is what its third row lacks."""
    rows = planned_rows(config, lambda _, words: (None, dict.fromkeys(missing, "") if "do=d" in words else {}))
    return TablePlan(config=config, rows=rows)


def run(folder: Path, plan: TablePlan) -> tuple[int, str]:
    """Exit code and printed lines of the table."""
    script = folder / "program.py"
    script.write_text(PROGRAM)
    program = ("env", f"PYTHONPATH={ROOT}", sys.executable, str(script))
    console = Console(file=(text := io.StringIO()), width=200)
    try:
        run_table(plan, Display(console), Here(1, gpus=(), cpus=4, program=program))
    except SystemExit as end:
        return int(end.code or 0), text.getvalue()
    return 0, text.getvalue()


def told(output: Path) -> list[str]:
    """The calls of the program, in order."""
    return (output / "cells" / "told").read_text().splitlines()


def test_a_table_runs_starts_then_whole_seeds_and_tells_what_failed_and_what_is_missing(tmp_path: Path) -> None:
    output = tmp_path / "table"
    code, text = run(tmp_path, plan(config(output), "estimator=own is no estimator"))
    assert told(output) == [
        "warmstart - 0",
        "warmstart - 1",
        *("train c 0", "train fail 0", "train c 1", "train fail 1"),
    ]
    assert code == 1
    assert "an engine died" in text
    assert "missing: estimator=own is no estimator" in text
    report = json.loads((output / "report.json").read_text())
    assert set(report["runs"]) == {"first"}
    assert report["config"]["output"] == "."
    assert str(tmp_path) not in (output / "report.json").read_text()
    assert report["table"]["rows"][0]["columns"]["all"]["last"]["values"] == [0.75, 0.75]
    assert report["cells"]["second, seed 1"]["state"] == "failed"
    assert "75.0" in (output / "table.html").read_text()
    assert "50\N{NO-BREAK SPACE}%" in (output / "table.md").read_text()  # a terminal tears no head


def test_the_same_command_goes_on_where_it_was_and_repeats_nothing_that_is_finished(tmp_path: Path) -> None:
    output = tmp_path / "table"
    run(tmp_path, plan(config(output), "nothing yet"))
    before = len(told(output))
    (output / "cells" / "mended").touch()
    code, _ = run(tmp_path, plan(config(output)))
    assert code == 0
    assert told(output)[before:] == ["train fail 0", "train d 0", "train fail 1", "train d 1"]
    assert set(json.loads((output / "report.json").read_text())["runs"]) == {"first", "second", "third"}


def test_a_cell_is_named_by_its_start_and_not_by_where_that_lies(tmp_path: Path) -> None:
    def first(folder: str, **changes: Any) -> Cell:
        return plan(config(tmp_path / folder, **changes)).rows[0].cells[0]

    assert first("here").digest == first("there").digest
    assert first("here").words != first("there").words
    other = replace(SPEC, starts=(Start(name="warm", overrides=("epochs=2",)),))
    assert first("here", table=other).digest != first("here").digest


ASKING = replace(SPEC, rows=(Row(name="asks", title="Asks", command="evaluate", overrides=("do=c",), endpoint=True),))


def test_a_row_that_asks_an_endpoint_is_missing_without_one_and_is_then_remembered_by_its_model(tmp_path: Path) -> None:
    def asking(**changes: Any) -> TablePlan:
        return plan(config(tmp_path / "table", table=ASKING, **changes))

    code, text = run(tmp_path, asking())
    assert code == 2
    assert "missing: endpoint=URL endpoint_model=NAME of an OpenAI-compatible server" in text
    here, there = (asking(endpoint=f"http://{host}/v1", endpoint_model="gpt-4o") for host in ("here", "there"))
    assert here.rows[0].missing == ()
    assert 'endpoint="http://here/v1"' in here.rows[0].cells[0].words
    assert here.rows[0].cells[0].digest == there.rows[0].cells[0].digest
    assert (
        asking(endpoint="http://here/v1", endpoint_model="other").rows[0].cells[0].digest
        != here.rows[0].cells[0].digest
    )
    check_begun(tmp_path / "table", "mine", here.rows)
    assert run(tmp_path, here)[0] == 0
    check_begun(tmp_path / "table", "mine", there.rows)


def test_all_seeds_of_a_row_are_one_group_at_weights_and_biases(tmp_path: Path) -> None:
    rows = plan(config(tmp_path)).rows
    groups = [{word for word in cell.words if "log.group" in word} for row in rows for cell in row.cells.values()]
    assert groups == [{f'log.group="mine {row.row.name}"'} for row in rows for _ in row.cells]
    own = plan(config(tmp_path, set={"log": {"group": "ours"}})).rows[0].cells[0]
    assert "log.group=ours" in own.words


def test_a_warm_start_runs_on_the_cluster_of_all_cells_and_stays_the_same_start(tmp_path: Path) -> None:
    start, other = (plan(config(tmp_path, set=own)).starts[0] for own in ({}, {"cluster": {"cpus": 2}, "updates": 1}))
    assert other.words == ("cluster.cpus=2", *start.words)
    assert other.digest == start.digest


def test_a_setting_of_the_row_replaces_that_of_all_cells_and_the_users_replaces_both() -> None:
    assert merged(["a=1", "b=1"], ["~b"], ["+a=3"]) == ("+a=3", "~b")


def test_a_folder_with_another_tables_cells_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    begin(tmp_path, "mine", plan(config(tmp_path)).rows)
    before = (tmp_path / "table.json").read_text()
    with pytest.raises(ConfigError, match=r"holds cells of table 'mine', not of 'yours': choose another output folder"):
        check_begun(tmp_path, "yours", plan(config(tmp_path, name="yours")).rows)
    with pytest.raises(
        ConfigError, match=r"row first, seed 0 .* \(updates=3 differ\): set them back, or choose another"
    ):
        check_begun(tmp_path, "mine", plan(config(tmp_path, set={"updates": 3})).rows)
    check_begun(tmp_path, "mine", plan(config(tmp_path, seeds=(1, 2), rows=("third",))).rows)  # more seeds, fewer rows
    begin(tmp_path, "mine", plan(config(tmp_path, rows=("third",))).rows)
    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(before)
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(ConfigError, match="is broken"):
        check_begun(tmp_path, "mine", plan(config(tmp_path)).rows)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rows": ("frist",)}, "rows='frist' is not in table 'mine': did you mean 'first'?"),
        ({"seeds": ()}, "seeds=[]"),
        ({"set": {"model": {"source": "x"}}}, "set.model.source is given to each cell by the table itself"),
        ({"runs": "nowhere"}, "runs=nowhere is no folder"),
        ({"endpoint": "http://here/v1"}, "endpoint=http://here/v1 with endpoint_model=None: give both, or neither"),
    ],
)
def test_what_a_table_cannot_take_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_table(replace(config(tmp_path), table=replace(SPEC, rows=ROWS), **change))  # pyright: ignore
    assert part in str(caught.value)


def test_a_cell_that_has_no_room_is_refused_before_any_start_runs(tmp_path: Path) -> None:
    class Small(Here):
        def check(self, cell: Cell) -> None:
            if cell.command == "train":
                raise ConfigError("a cell takes cluster.gpus=8 and this machine has 0")

    display = Display(Console(file=io.StringIO()))
    with pytest.raises(ConfigError, match=r"cluster\.gpus=8"):
        run_table(plan(config(tmp_path / "table")), display, Small(1, gpus=(), cpus=4, program=("false",)))
    assert not list((tmp_path / "table" / "cells").glob("*"))


def test_a_plan_fits_80_columns_and_shows_brackets_as_they_are(tmp_path: Path) -> None:
    spec = replace(SPEC, title="Of [b]", rows=(replace(ROWS[2], title="Third [/easy] [easy]"),))
    console = Console(file=(text := io.StringIO()), width=80, soft_wrap=True)
    asked = config(tmp_path / "table", table=spec, dry_run=True)
    run_table(plan(asked, "a word " * 30), Display(console))
    printed = [line for line in text.getvalue().splitlines() if not line.startswith("cells and report")]
    assert max(map(len, printed)) <= 80
    assert printed[0].startswith("Of [b]: 2 cells")
    assert any("Third [/easy] [easy]" in line for line in printed)


def test_a_plan_says_whose_a_deviation_is(tmp_path: Path) -> None:
    asked = config(tmp_path / "table", dry_run=True)
    whole = plan(asked)
    told = (("updates is 1",), ("updates is 1", "group_size is 1"), ("updates is 1",))
    rows = tuple(replace(row, deviations=its) for row, its in zip(whole.rows, told, strict=True))
    run_table(replace(whole, rows=rows), Display(Console(file=(text := io.StringIO()), width=200)))
    differing = [line for line in text.getvalue().splitlines() if line.startswith("differs")]
    assert [line.removeprefix("differs from the protocol: ") for line in differing] == [
        "updates is 1 (all)",
        "group_size is 1 (second)",
    ]
