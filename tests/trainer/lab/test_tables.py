"""The lab's tables against the truth: what stands where, and that a terminal of 100 columns holds them."""

from collections.abc import Sequence
from dataclasses import fields
from io import StringIO

from rich.console import Console

from trainer.lab.measure.truth import Measured, TruthError
from trainer.lab.report.tables import Grid, markdown, on_terminal, truth_grids

PARTS = ("error", "bias", "variance", "cosine")


def told(world: str, estimator: str, size: int) -> TruthError:
    """Numbers that say where they belong: error 30 + size, bias 10 + size, variance 20 + size, cosine 0.5."""
    measures = {one.name: Measured(value=0.5, half=0.0625) for one in fields(TruthError) if one.type is Measured}
    for name, value in {"error": 30.0, "bias": 10.0, "variance": 20.0}.items():
        measures[name] = Measured(value=value + size, half=1.0)
    return TruthError(
        world=world, estimator=estimator, size=size, groups=20, rows=100, covered=1.0, signal=1.0, **measures
    )


def found(worlds: Sequence[str], sizes: Sequence[int], names: Sequence[str] = ("grpo", "gigpo")) -> list[TruthError]:
    return [told(world, name, size) for world in worlds for size in sizes for name in names]


def test_every_world_has_a_table_of_estimators_by_group_size() -> None:
    first, second = truth_grids(found(["maze", "TextCraft"], [2, 8]))
    assert (first.title, second.title) == (
        "Against the true advantage: maze",
        "Against the true advantage: TextCraft",
    )
    assert first.heads == ("groups of", "2", "8")
    assert [row[0] for row in first.rows] == [cell for part in PARTS for cell in (part, "grpo", "gigpo")]
    assert first.rows[:2] == (("error",), ("grpo", "32.00±1.00", "38.00±1.00"))
    assert first.rows[4] == ("grpo", "12.00±1.00", "18.00±1.00")
    assert first.rows[7] == ("grpo", "22.00±1.00", "28.00±1.00")
    assert first.rows[10] == ("grpo", "0.50±0.06", "0.50±0.06")


def test_worlds_of_one_group_size_stand_side_by_side() -> None:
    (grid,) = truth_grids(found(["maze", "TextCraft"], [8]))
    assert grid.title == "Against the true advantage, groups of 8"
    assert grid.heads == ("", "maze", "TextCraft")
    assert grid.rows[1] == ("grpo", "38.00±1.00", "38.00±1.00")
    (alone,) = truth_grids(found(["maze"], [8]))
    assert alone.heads == ("groups of", "8")


def test_nothing_measured_has_no_table() -> None:
    assert list(truth_grids([])) == []


def test_a_table_of_six_group_sizes_fits_a_terminal_of_100_columns() -> None:
    console = Console(file=StringIO(), width=100)
    measured = found(["maze"], [2, 4, 8, 16, 32, 64], ["grpo", "compat/verl_agent_gigpo"])
    for grid in truth_grids(measured):
        console.print(on_terminal(grid))
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(lines) == 4 + 4 * 3  # a gap, title, note and heads; no row is broken in two
    assert lines[5].split() == ["grpo", *(f"{30 + size}.00±1.00" for size in (2, 4, 8, 16, 32, 64))]


def test_brackets_in_names_are_shown_on_a_terminal() -> None:
    console = Console(file=StringIO(), width=100)
    grid = Grid(title="Credit: runs/0,estimators=[grpo]", note="", heads=("", "ms"), rows=(("own keys=[item]", "1"),))
    console.print(on_terminal(grid))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert grid.title in shown
    assert grid.rows[0][0] in shown


def test_a_table_as_markdown() -> None:
    (grid,) = truth_grids(found(["maze"], [2, 8], ["grpo"]))
    lines = markdown(grid).splitlines()
    assert lines[0] == "**Against the true advantage: maze** (error = bias + variance, in units of E A^2; ± 95 %)"
    assert lines[1:6] == [
        "",
        "| groups of | 2 | 8 |",
        "| --- | --- | --- |",
        "| **error** |  |  |",
        "| `grpo` | 32.00±1.00 | 38.00±1.00 |",
    ]
    assert len(lines) == 4 + 4 * 2
