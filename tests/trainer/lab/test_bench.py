"""The bench: its table on a terminal, its pictures, and what a command line makes of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from estimators import ESTIMATORS, needs
from tests.trainer.lab.test_lab import composed
from tests.trainer.lab.test_tables import comparison
from trainer.config.build import ConfigError
from trainer.lab.config import TruthConfig
from trainer.lab.measure.jackknife import ConfidenceInterval, interval
from trainer.lab.measure.truth import NUMBERS, TruthComparison, over_layouts
from trainer.lab.plan import GENERATED_COLUMNS, plan_lab
from trainer.lab.report.bench import PARTS, bench_grids, detail_grids
from trainer.lab.report.pictures import curves, dots
from trainer.lab.worlds.bench import WORLDS
from trainer.report.terminal import table_lines

NAMES = tuple(f"reinforce_{letter}" for letter in "abcdefghijklmno")


def valued(world: str, name: str, value: float) -> TruthComparison:
    """A comparison whose numbers are all `value`."""
    same = {number: ConfidenceInterval(value=value, half=0.01) for number in NUMBERS}
    return replace(comparison(world, name, 8), **same)


def benched(world: str, name: str, *values: float) -> TruthComparison:
    return over_layouts(world, [valued(world, name, value) for value in values])


def test_the_whole_bench_is_one_table_of_eighty_columns() -> None:
    full = [benched(world, name, 0.25, 0.5, 0.75) for world in WORLDS for name in NAMES]
    (grid,) = bench_grids(full)
    lines = [line for line, _ in table_lines(grid, 80)]
    assert max(map(len, lines)) <= 80
    assert [sum(line.startswith(f"{name} ") for line in lines) for name in NAMES] == [len(PARTS)] * len(NAMES)


def test_a_star_marks_the_best_and_what_the_layouts_do_not_tell_from_it() -> None:
    # "close" differs from "best" by 0.1 and -0.1, "worse" by 0.3 and a little in every layout.
    (grid,) = bench_grids(
        [
            benched("maze", "best", 0.5, 0.9, 0.71),
            benched("maze", "close", 0.6, 0.8, 0.7),
            benched("maze", "worse", 0.2, 0.6, 0.4),
        ]
    )
    cosine = dict(zip(("best", "close", "worse"), (row[1] for row in grid.rows[1:4]), strict=True))
    assert cosine == {"best": "70*", "close": "70*", "worse": "40"}
    leakage = [row[1] for row in grid.rows[-3:]]  # less is better there
    assert leakage == ["70", "70", "40*"]


def test_layouts_give_a_mean_whose_interval_covers_worlds() -> None:
    entry = benched("maze", "grpo", 0.25, 0.5, 0.75)
    assert entry.rank == interval([0.25, 0.5, 0.75])
    assert entry.rank.half == pytest.approx(4.303 * 0.25 / 3**0.5, rel=1e-3)  # Student's t with two degrees
    assert (entry.groups, len(entry.layouts)) == (60, 3)
    assert [cell for grid in detail_grids([entry]) for cell in grid.rows[0][1:]] == ["0.50\N{PLUS-MINUS SIGN}0.62"] * 8


def test_one_group_size_gives_every_estimator_a_line_of_its_own() -> None:
    figure = dots([valued(world, name, 0.5) for world in ("maze", "craft") for name in NAMES])
    for axes in figure.axes:
        heights = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
        assert sorted(heights) == list(range(len(NAMES)))  # pyright: ignore[reportArgumentType]
    assert figure.legends == []


@pytest.mark.parametrize("worlds", [("maze",), ("a", "b", "c", "d", "e")])
def test_fifteen_curves_differ_in_colour_or_dashes_and_the_legend_is_whole(worlds: tuple[str, ...]) -> None:
    names = [*NAMES[:-1], "compat/verl_agent_gigpo_similar eps=0.05"]
    figure = curves([comparison(world, name, size) for world in worlds for size in (4, 8) for name in names])
    drawn = [line for line in figure.axes[0].lines if line.get_label() in names]
    looks = {(str(line.get_color()), str(line.get_linestyle()), str(line.get_marker())) for line in drawn}
    assert len(looks) == len(names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    inside, whole = legend.get_window_extent(canvas.get_renderer()), figure.bbox
    assert (inside.x0 >= 0, inside.x1 <= whole.x1, inside.y0 >= 0, inside.y1 <= whole.y1) == (True,) * 4


def test_the_suite_takes_every_estimator_that_can_run_and_every_world(tmp_path: Path) -> None:
    settings = composed("suite=bench", f"output={tmp_path}", "truth.layouts=2", "truth.first_layout=100")
    assert settings.truth is not None
    assert settings.truth.names == tuple(WORLDS)
    worlds = ["delay", "recov"]
    plan = plan_lab(replace(settings, truth=replace(settings.truth, worlds=tuple(worlds))))
    able = {name for name, make in ESTIMATORS.items() if needs(make()).columns <= GENERATED_COLUMNS}
    assert set(plan.generated) == able
    assert "ibpo" not in plan.generated
    assert [(world.name, list(world.layouts)) for world in plan.worlds] == [(name, [100, 101]) for name in worlds]


def test_a_world_that_the_bench_has_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"truth\.worlds has 'dealy', .*: did you mean 'delay'\?"):
        TruthConfig(worlds=("dealy",))


def test_an_interval_needs_two_values_and_leaves_undefined_ones_out() -> None:
    nothing, single = interval([float("nan")]), interval([0.5, float("nan")])
    assert (str(nothing.value), single.value, str(single.half)) == ("nan", 0.5, "nan")
