"""A search over settings: optuna's TPE proposes cells from the results of earlier ones, and its median pruner ends the
bad ones early by their validations (TPE: Bergstra et al., 2011)."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import optuna
from annotated_types import Ge
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import Trial, TrialState

from rollout.seeds import derive_seed
from trainer.cells.cell import Cell, Outcome, State
from trainer.cells.index import Index
from trainer.cells.launch import Watcher
from trainer.config.build import ConfigError
from trainer.report.meanings import MEANINGS, fixed_part, metric_of
from trainer.report.metric_rows import METRICS, rows_so_far

JOURNAL = "optuna.journal"
CUT = "cut"  # marks a trial that does not count
UNMEASURED = "unmeasured"  # marks one whose cell finished without the metric
OWN_NUMBERS = ("credit/", "scorer/")  # estimators and scorers of users log names that nobody else knows
ASKED_AGAIN = 20  # times, where the search proposes a cell that is running


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How settings are searched."""

    n_trials: Annotated[int, Ge(1)] = 20
    """Cells that the search may start, refused and pruned ones included."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of the proposals."""

    startup: Annotated[int, Ge(1)] = 5
    """Cells that are drawn at random, and are never pruned, before TPE proposes the next ones. On a cluster as many run
    at once, unless hydra.launcher.parallel says how many."""

    metric: str = "validation/success"
    """The number of metrics.jsonl that is searched by; its last value counts."""

    direction: Literal["maximize", "minimize"] = "maximize"
    """Which values are good."""

    prune: bool = True
    """Whether a cell ends whose best value so far is below the median, at that update, of the cells that ran to their
    end."""

    def __post_init__(self) -> None:
        """Raises ConfigError for a metric that no run can log: the search would go on blindly to its end."""
        if not _is_logged(self.metric):
            plain = [fixed_part(entry).strip() for entry in MEANINGS]
            near = difflib.get_close_matches(self.metric, plain, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else "choose a number of a metrics.jsonl"
            raise ConfigError(f"hydra.sweeper.metric={self.metric!r} is nothing that a run logs: {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A setting that takes one of some values, as they are written on a command line."""

    values: tuple[str, ...]
    """The values, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A setting that takes any number of an interval."""

    low: float
    """The least."""
    high: float
    """The greatest."""
    log: bool = False
    """Whether its logarithm is searched."""
    whole: bool = False
    """Whether it takes whole numbers alone."""


Space = Mapping[str, Choice | Interval]


class Search(Watcher):
    """Proposes cells, hears how they end, and ends the bad ones. What it learned lies in the sweep's folder."""

    def __init__(
        self, config: SearchConfig, space: Space, cell: Callable[[Mapping[str, str]], Cell], folder: Path, index: Index
    ) -> None:
        """cell: the cell of values of the space."""
        self._config, self._space, self._cell, self._index = config, space, cell, index
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            study_name="sweep",
            load_if_exists=True,
            direction=config.direction,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=config.startup)
            if config.prune
            else optuna.pruners.NopPruner(),
        )
        # A search that goes on must not propose what it began with.
        seed = derive_seed(config.seed, "search", len(self._study.get_trials(deepcopy=False)))
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=config.startup)
        self._trials = dict[str, Trial]()  # that run, by digest
        self._reported = dict[str, int]()  # the last update that the study knows, by digest
        self._seen = dict[str, tuple[int, int] | None]()  # the metrics file as it was last read, by digest

    def cells(self) -> Iterator[Cell]:
        """The cells of the search, each proposed when it is asked for. One that was running when the search was killed
        comes first."""
        for cut in self._study.get_trials(states=(TrialState.RUNNING,)):
            Trial(self._study, cut._trial_id).set_user_attr(CUT, True)
            self._study.tell(cut.number, state=TrialState.FAIL)
            self._study.enqueue_trial(cut.params)
        while self._spent() < self._config.n_trials and not self._is_blind:
            cell = self._proposed()
            if cell is None:
                return
            yield cell

    @property
    def learned(self) -> bool:
        """Whether a cell had the metric."""
        states = {trial.state for trial in self._study.get_trials(deepcopy=False)}
        return not states.isdisjoint((TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def complaint(self) -> str | None:
        """What to say of cells that finished without the metric; None where there are none."""
        metric, without = self._config.metric, self._unmeasured()
        if not without:
            return None
        which = f"{without} finished cells have" if self.learned else f"none of {without} finished cells has"
        number = f"no {metric}" if self.learned else metric
        return (
            f"{which} {number} in metrics.jsonl, and the search learns nothing from such cells: start another one with "
            "a metric that its cells log, by hydra.sweeper.metric=NAME; validation/... needs validation.every=N"
        )

    def changed(self, outcome: Outcome) -> None:
        trial = self._trials.get(outcome.cell.digest)
        if trial is None or outcome.state in (State.RUNNING, State.WAITING):
            self._index.changed(outcome)
            return
        del self._trials[outcome.cell.digest]
        values = logged_values(outcome.cell.folder / METRICS, self._config.metric)
        if outcome.state == State.FINISHED and not values:
            trial.set_user_attr(UNMEASURED, True)
            outcome = replace(outcome, line=f"it has no {self._config.metric}, by which the search goes")
        self._index.changed(outcome)
        if outcome.state == State.FINISHED and values:
            self._study.tell(trial, values[max(values)])
        elif outcome.state == State.PRUNED:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def verdict(self, cell: Cell) -> str | None:
        trial, file = self._trials[cell.digest], cell.folder / METRICS
        if (now := _version_of(file)) == self._seen.get(cell.digest):
            return None
        self._seen[cell.digest] = now
        values = logged_values(file, self._config.metric)
        for update in sorted(update for update in values if update > self._reported.get(cell.digest, -1)):
            self._reported[cell.digest] = update
            trial.report(values[update], update)
            if trial.should_prune():
                return f"{self._config.metric} {values[update]:.3g} at update {update} is worse than the median there"
        return None

    def _spent(self) -> int:
        """Trials that count: not those that were cut off and proposed again, nor those that are still to be."""
        return sum(
            CUT not in trial.user_attrs and trial.state != TrialState.WAITING
            for trial in self._study.get_trials(deepcopy=False)
        )

    def _unmeasured(self) -> int:
        """Cells that finished without the metric."""
        return sum(
            UNMEASURED in trial.user_attrs and CUT not in trial.user_attrs
            for trial in self._study.get_trials(deepcopy=False)
        )

    @property
    def _is_blind(self) -> bool:
        """Whether all that finished lack the metric, and are as many as the search needs to begin with."""
        return self._unmeasured() >= self._config.startup and not self.learned

    def _proposed(self) -> Cell | None:
        """The next cell; None where the search proposes nothing but cells that run."""
        for _ in range(ASKED_AGAIN):
            trial = self._study.ask()
            cell = self._cell({name: _suggested(trial, name, axis) for name, axis in self._space.items()})
            if cell.digest not in self._trials:
                self._trials[cell.digest] = trial
                return cell
            trial.set_user_attr(CUT, True)
            self._study.tell(trial, state=TrialState.FAIL)
        return None


def _is_logged(metric: str) -> bool:
    """Whether a run may log the number. Where a known name ends with a word in capitals, any text may stand there.

    >>> _is_logged("validation/success depth 2"), _is_logged("credit/my_own"), _is_logged("validation/succes")
    (True, True, False)
    """
    return metric_of(metric) is not None or metric.startswith(OWN_NUMBERS)


def _suggested(trial: Trial, name: str, axis: Choice | Interval) -> str:
    """The value of a setting, as a word has it."""
    if isinstance(axis, Choice):
        return str(trial.suggest_categorical(name, axis.values))
    if axis.whole:
        return str(trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.log))
    return repr(trial.suggest_float(name, axis.low, axis.high, log=axis.log))


def _version_of(file: Path) -> tuple[int, int] | None:
    """When a file was last written, and its size: what tells that it was written again. None where there is none."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return None
    return now.st_mtime_ns, now.st_size


def logged_values(file: Path, metric: str) -> dict[int, float]:
    """The values of a number that a run has logged, by update."""
    return {int(row["update"]): float(row[metric]) for row in rows_so_far(file) if metric in row}
