"""The lab: the credit of estimators on recorded rollouts, and its error where the true advantage is known."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rollout.seeds import derive_seed
from trainer.lab.measure.recorded import UpdateCredit, recorded_credit
from trainer.lab.measure.truth import TruthComparison, compare_with_truth, over_layouts
from trainer.lab.plan import LabPlan
from trainer.lab.report.numbers import Numbers, options_of, write_numbers
from trainer.lab.report.page import write_page
from trainer.lab.report.tables import recorded_grids, truth_grids
from trainer.report.progress import Display
from trainer.report.terminal import TerminalTable


def lab(plan: LabPlan, display: Display) -> Numbers:
    """Measure, print the tables, write the files. Raises ConfigError for a recording that cannot be read.

    The folder `plan.config.output` gets lab.json, lab.md, lab.html and, with generated worlds, truth.svg and truth.png.
    """
    recorded = tuple(_recorded(plan, display))
    truth = tuple(_truth(plan, display))
    for grid in (*recorded_grids(recorded), *truth_grids(truth)):
        display.console.print(TerminalTable(grid))
    numbers = Numbers(
        config=asdict(plan.config),
        options={"recorded": options_of(plan.recorded), "generated": options_of(plan.generated)},
        recorded=recorded,
        truth=truth,
    )
    output = Path(plan.config.output).absolute()
    page = write_page(output, numbers)
    write_numbers(output, numbers)
    display.line(f"page: {page}")
    return numbers


def _recorded(plan: LabPlan, display: Display) -> Iterator[UpdateCredit]:
    with display.counting("recorded updates", len(plan.recordings)) as bar:
        for update in recorded_credit(plan.recordings, plan.recorded, model=plan.model, layer=plan.config.layer):
            yield update
            bar.advance()


def _truth(plan: LabPlan, display: Display) -> Iterator[TruthComparison]:
    """Every world at every group size. Each layout and size has a seed of its own, so none changes another."""
    truth, seed = plan.config.truth, plan.config.seed
    if truth is None:
        return
    with display.counting(
        "group sizes in layouts", len(truth.sizes) * sum(len(it.layouts) for it in plan.worlds)
    ) as bar:
        for world in plan.worlds:
            for size in truth.sizes:
                layouts: list[list[TruthComparison]] = []
                for number, layout in world.layouts.items():
                    parts = (size,) if number is None else (number, size)
                    rng = np.random.default_rng(derive_seed(seed, "truth", world.name, *parts))
                    compared = compare_with_truth(
                        layout, plan.generated, size=size, rollouts=truth.rollouts, rng=rng, scorers=plan.scorers
                    )
                    layouts.append(list(compared))
                    bar.advance()
                for of_estimator in zip(*layouts, strict=True):
                    yield of_estimator[0] if len(of_estimator) == 1 else over_layouts(world.name, of_estimator)
