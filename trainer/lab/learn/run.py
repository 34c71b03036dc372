"""`stepcredit lab learn`: which credit learns fastest, in worlds whose success is computed exactly."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from estimators import Estimator
from rollout.seeds import derive_seed
from trainer.lab.entries import estimators_of
from trainer.lab.learn.config import LearnConfig
from trainer.lab.learn.curve import Curve, curve_of, progress, train
from trainer.lab.learn.kept import kept_curves
from trainer.lab.learn.report import Learned, curve_grids, write_page
from trainer.lab.learn.school import School, best_score, shared_features
from trainer.lab.plan import GENERATED_COLUMNS
from trainer.lab.worlds.bench import WORLDS
from trainer.report.progress import Display
from trainer.report.terminal import TerminalTable

TUNING_SIZE = 8
"""Group size at which learning rates are chosen, where `sizes` has it; the first size otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnPlan:
    """A comparison of learning that can start."""

    config: LearnConfig
    """The settings."""

    estimators: Mapping[str, Estimator]
    """The estimators by label."""


def plan_learn(config: LearnConfig) -> LearnPlan:
    """Build the estimators that are to learn.

    Raises ConfigError for an estimator that cannot run in generated worlds.
    """
    estimators = estimators_of(
        config.estimators,
        presets=config.presets,
        swept={},
        run={},
        columns=GENERATED_COLUMNS,
        why="which generated worlds have not: leave it out",
    )
    return LearnPlan(config=config, estimators=estimators)


def learn(plan: LearnPlan, display: Display) -> Learned:
    """Train, print the tables, write learn.json, learn.md, learn.html, learn.svg and learn.png into `output`.

    The numbers on disk grow with every estimator. Raises ConfigError for curves there that do not belong to the plan.
    """
    output, config = Path(plan.config.output).absolute(), plan.config
    kept = kept_curves(output, config, set(plan.estimators)) if config.resume == "auto" else {}
    total = len(config.names) * len(plan.estimators)
    with display.counting("estimators in worlds", total) as bar:
        for name in config.names:
            missing = {label: own for label, own in plan.estimators.items() if (name, label) not in kept}
            for _ in range(len(plan.estimators) - len(missing)):
                bar.advance()
            for label, of_estimator in _world(config, name, missing):
                kept[name, label] = of_estimator
                Learned(config=config, curves=tuple(chain(*kept.values()))).write(output)
                bar.advance()
    ordered = (kept[name, label] for name in config.names for label in plan.estimators)
    learned = Learned(config=config, curves=tuple(chain(*ordered)))
    learned.write(output)
    for grid in curve_grids(learned):
        display.console.print(TerminalTable(grid))
    display.line(f"page: {write_page(output, learned)}")
    return learned


def _world(config: LearnConfig, name: str, estimators: Mapping[str, Estimator]) -> Iterator[tuple[str, list[Curve]]]:
    """Each estimator's curves in one world, by group size."""
    if not estimators:
        return
    world = replace(WORLDS[name](config.layout), texts=config.texts)
    features = np.random.default_rng(derive_seed(config.seed, "features", name))
    school = School(world, shared_features(world, features) if config.policy == "shared" else None)
    best = best_score(world)
    for label, estimator in estimators.items():
        rate = _rate(config, school, estimator, name, best)
        curves: list[Curve] = []
        for size in config.sizes:
            scores = train(
                school,
                estimator,
                policies=config.seeds,
                size=size,
                rollouts=config.rollouts,
                updates=config.updates,
                rate=rate,
                rng=np.random.default_rng(derive_seed(config.seed, "learn", name, size)),
            )
            curves.append(
                curve_of(scores, best=best, world=name, estimator=label, size=size, rate=rate, rates=config.rates)
            )
        yield label, curves


def _rate(config: LearnConfig, school: School, estimator: Estimator, name: str, best: float) -> float:
    """The rate with the largest area under the curve, on policies that are trained for this alone."""
    if len(config.rates) == 1:
        return config.rates[0]
    size = TUNING_SIZE if TUNING_SIZE in config.sizes else config.sizes[0]

    def area(rate: float) -> float:
        scores = train(
            school,
            estimator,
            policies=config.tuning_seeds,
            size=size,
            rollouts=config.rollouts,
            updates=config.updates,
            rate=rate,
            rng=np.random.default_rng(derive_seed(config.seed, "rate", name)),
        )
        return float(progress(scores, best)[1:].mean())

    return max(sorted(config.rates), key=area)
