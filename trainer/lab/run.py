"""The lab: what credit estimators give on recorded rollouts, and how far it is from the truth where that is known."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.markup import escape

from rollout.seeds import derive_seed
from trainer.lab.config import LabConfig
from trainer.lab.measure.recorded import UpdateCredit, recorded_credit
from trainer.lab.measure.truth import TruthError, truth_errors
from trainer.lab.plan import LabPlan
from trainer.lab.report.numbers import write_numbers
from trainer.lab.report.page import write_page
from trainer.lab.report.tables import on_terminal, recorded_grids, truth_grids
from trainer.report.progress import Display


def lab(plan: LabPlan, display: Display) -> tuple[list[UpdateCredit], list[TruthError]]:
    """Measure, print, write lab.json, lab.md, lab.html and truth.svg. Raises ConfigError for what cannot be read."""
    config = plan.config
    recorded = list(_recorded(config, plan, display))
    truth = list(_truth(config, plan, display))
    for grid in (*recorded_grids(recorded), *truth_grids(truth)):
        display.console.print(on_terminal(grid))
    output = Path(config.output).absolute()
    page = write_page(output, config, recorded, truth)
    write_numbers(output, config, plan, recorded, truth)
    display.line(escape(f"page: {page}"))  # a sweep has brackets in the names of its folders
    return recorded, truth


def _recorded(config: LabConfig, plan: LabPlan, display: Display) -> Iterator[UpdateCredit]:
    with display.counting("recorded updates", len(plan.recordings)) as bar:
        for found in recorded_credit(plan, config.layer):
            yield found
            bar.advance()


def _truth(config: LabConfig, plan: LabPlan, display: Display) -> Iterator[TruthError]:
    """World by world and size by size, each seeded by its name and size: leaving one out changes no other."""
    if config.truth is None:
        return
    sizes = config.truth.sizes
    with display.counting("group sizes in worlds", len(sizes) * len(plan.worlds)) as bar:
        for world in plan.worlds:
            for size in sizes:
                rng = np.random.default_rng(derive_seed(config.seed, "truth", world.name, size))
                yield from truth_errors(world, plan.generated, size=size, rollouts=config.truth.rollouts, rng=rng)
                bar.advance()
