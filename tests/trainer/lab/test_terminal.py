"""The lab's tables on a terminal: no line is too wide, no number is split, no name is shortened."""

import re
from collections.abc import Iterator, Sequence
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.trainer.lab.test_tables import comparisons
from trainer.lab.measure.credit import Agreement, CreditStatistics, StateStatistics
from trainer.lab.measure.recorded import Credit, UpdateCredit
from trainer.lab.report.tables import BRANCHES, CLUSTERS, recorded_grids, truth_grids
from trainer.report.grid import Grid
from trainer.report.terminal import TerminalTable

SIZES = (2, 4, 8, 16, 32, 64)
WORLDS = ("maze", "maze, 6 texts a state", "maze, states look alike", "TextCraft")
FIVE = ("grpo", "gigpo", "bipace", "ecpo", "crbc")
FIFTEEN = (
    *FIVE, "rloo", "reinforce_pp", "min_form", "hgpo", "gagpo", "g2po", "graphgpo", "compat/verl_agent_gigpo",
    "compat/verl_agent_gigpo_similar gamma=0.5 omega=2.0", "bipace variant=state_only eps=0.05",
)  # fmt: skip
NUMBER = re.compile(r"-?\d[\d,.]*(?:±\d[\d.]*| %)?|–")


def printed(grids: Iterator[Grid], width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, soft_wrap=True)
    for grid in grids:
        console.print(TerminalTable(grid))
    return console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]


def update(names: Sequence[str]) -> UpdateCredit:
    """An update in which every number of every table has its widest form."""
    statistics = CreditStatistics(
        zero=1.0, variance=1.0, between_groups=1.0, between_rollouts=1.0, within_rollouts=1.0, effective=1.0
    )
    diagnostics = dict.fromkeys((*CLUSTERS, *BRANCHES, *(f"own_number_{key}" for key in range(9))), -1234567.0)
    return UpdateCredit(
        update=1,
        groups=2,
        rollouts=4,
        rows=12345678,
        success=1.0,
        states=StateStatistics(singleton_states=1.0, singleton_rows=1.0, size_mean=1.0, size_p90=1.0, keys_mean=1.0),
        credit={name: Credit(statistics=statistics, ms=99.999, diagnostics=diagnostics) for name in names},
        pairs={
            (first, second): Agreement(rank=-0.125, sign=-0.125, both=1.0)
            for place, first in enumerate(names)
            for second in names[place + 1 :]
        },
    )


def cells(grid: Grid) -> list[str]:
    return sorted(cell for row in grid.rows for cell in row[1:] if cell)


def numbers(lines: Sequence[str], grid: Grid) -> list[str]:
    """The numbers in the printed rows of a grid, without the title, the note, the heads and the names."""
    names = sorted({row[0] for row in grid.rows if len(row) > 1}, key=len, reverse=True)
    heads = {text for row in grid.rows if len(row) == 1 for text in row}
    texts: list[str] = []
    beside = False
    for line in lines:
        name = next((name for name in names if line == name or line.startswith(f"{name}  ")), None)
        if name is not None or beside:
            texts += NUMBER.findall(line.removeprefix(name or ""))
        beside = line == name and name not in heads
    return sorted(texts)


@pytest.mark.parametrize("names", [FIVE, FIFTEEN], ids=len)
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    ("worlds", "sizes"), [(WORLDS, SIZES), (WORLDS, (8,)), (("maze",), (8,)), (("maze",), (2, 4))], ids=str
)
def test_tables_of_the_truth_fit_the_terminal_and_keep_every_number_whole(
    names: tuple[str, ...], width: int, worlds: tuple[str, ...], sizes: tuple[int, ...]
) -> None:
    for grid in truth_grids(comparisons(worlds, sizes, names)):
        lines = printed(iter([grid]), width)
        assert [line for line in lines if cell_len(line) > width] == []
        assert numbers(lines, grid) == cells(grid)
        assert all(name in "\n".join(lines) for name in names)


@pytest.mark.parametrize("names", [FIVE, FIFTEEN], ids=len)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_of_recorded_rollouts_fit_the_terminal_and_keep_every_number_whole(
    names: tuple[str, ...], width: int
) -> None:
    for grid in recorded_grids([update(names)]):
        lines = printed(iter([grid]), width)
        assert [line for line in lines if cell_len(line) > width] == []
        assert numbers(lines, grid) == cells(grid)
        assert all(name in "\n".join(lines) for name in names)


def test_five_estimators_and_six_group_sizes_are_one_block_in_80_columns() -> None:
    lines = printed(truth_grids(comparisons(["maze"], SIZES, FIVE)))
    assert lines[3].split() == ["error", *map(str, SIZES)]
    assert lines[4].split() == ["grpo", *(f"{30 + size}.0±1.0" for size in SIZES)]
    assert len(lines) == 3 + 4 * (1 + 5) + 3  # gap, title and note; four parts of five rows; gaps between the parts


def test_a_table_that_is_too_wide_is_printed_in_blocks_of_columns() -> None:
    lines = printed(truth_grids(comparisons(["maze"], SIZES, ["compat/verl_agent_gigpo"])))
    assert [lines[3].split(), lines[6].split()] == [["error", "2", "4", "8"], ["error", "16", "32", "64"]]
    assert lines[4].split() == ["compat/verl_agent_gigpo", "32.0±1.0", "34.0±1.0", "38.0±1.0"]


def test_a_name_that_leaves_too_little_room_stands_above_its_numbers() -> None:
    name = "compat/verl_agent_gigpo_similar gamma=0.5 omega=2.0"
    lines = printed(truth_grids(comparisons(["maze"], (2, 4), [name, "grpo"])))
    assert lines[4:7] == [name, "            32.0±1.0   34.0±1.0", "grpo        32.0±1.0   34.0±1.0"]


def test_heads_are_broken_at_words_and_never_inside_a_number() -> None:
    heads = ("", "maze, states look alike", "gigpo gamma=0.999999", "compat/verl_agent")
    lines = printed(iter([Grid(title="t", note="n", heads=heads, rows=(("grpo", "1", "2", "3"),))]), 32)
    assert lines[3:] == [
        "       maze,",
        "      states     gigpo  compat/",
        "        look    gamma=    verl_",
        "       alike  0.999999    agent",
        "grpo       1         2        3",
    ]


def test_brackets_in_names_are_shown_on_a_terminal() -> None:
    title = "Credit: runs/0,estimators=[grpo]"
    lines = printed(iter([Grid(title=title, note="", heads=("", "ms"), rows=(("own keys=[item]", "1"),))]))
    assert title in lines
    assert "own keys=[item]   1" in lines
