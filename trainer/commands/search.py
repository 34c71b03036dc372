"""hydra/sweeper=optuna: the settings of a sweep are searched, not enumerated."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from trainer.cells.cell import Cell
from trainer.cells.index import Index
from trainer.cells.search import Choice, Interval, Search, SearchConfig, Space
from trainer.commands.sweep import CellLauncher
from trainer.config.build import ConfigError, build

LOG = "log"  # the tag of an interval whose logarithm is searched


class OptunaSweeper(Sweeper):
    """Hydra makes the object from hydra/sweeper=optuna."""

    __module__ = "hydra_plugins.stepcredit"  # Hydra takes no sweeper of another package

    def __init__(self, **values: Any) -> None:
        """values: the fields of SearchConfig."""
        plain: Any = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
        self.search = build(SearchConfig, plain, "hydra.sweeper.")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, CellLauncher):
            raise ConfigError("hydra/sweeper=optuna needs cells: take hydra/launcher=local, ray or submitit")
        self._launcher, self._loader, self._folder = launcher, hydra_context.config_loader, Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        """Search the settings that have several values; the others are the same in each cell."""
        overrides = OverridesParser.create(config_loader=self._loader).parse_overrides(arguments)
        fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
        space = {override.get_key_element(): _axis(override) for override in overrides if override.is_sweep_override()}
        if not space:
            raise ConfigError(
                "hydra/sweeper=optuna has nothing to search: give a setting several values, such as group_size=4,8 "
                "or learner.learning_rate='tag(log,interval(1e-6,1e-4))'"
            )
        self.validate_batch_is_legal([[*fixed, *_words(values)] for values in _corners(space)])
        folder = self._folder.absolute()

        def cell(values: Mapping[str, str]) -> Cell:
            (cell,) = self._launcher.cells([[*fixed, *_words(values)]], folder, varied=set(space))
            return cell

        def watcher(index: Index) -> Search:
            return Search(self.search, space, cell, folder, index)

        cell(next(iter(_corners(space))))  # refuses what no cell may set
        self._launcher.search(watcher, folder, count=self.search.n_trials, at_once=self.search.startup)


def _words(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _corners(space: Space) -> Sequence[Mapping[str, str]]:
    """Each value of each choice and both ends of each interval, at least once, to see that they compose."""
    columns = {
        name: axis.values
        if isinstance(axis, Choice)
        else tuple(str(int(end)) if axis.whole else repr(end) for end in (axis.low, axis.high))
        for name, axis in space.items()
    }
    longest = max(len(values) for values in columns.values())
    return [{name: values[min(at, len(values) - 1)] for name, values in columns.items()} for at in range(longest)]


def _axis(override: Override) -> Choice | Interval:
    """What a setting may take, of a,b,c, choice(...), range(...) or interval(...)."""
    if not override.is_interval_sweep():
        return Choice(values=tuple(override.sweep_string_iterator()))
    interval: Any = override.value()
    assert isinstance(interval, IntervalSweep)
    low, high = interval.start, interval.end
    log = LOG in interval.tags
    if low is None or high is None or low >= high or (log and low <= 0):
        raise ConfigError(f"{override.input_line}: give a lower end below the upper one, above 0 for a logarithm")
    whole = isinstance(low, int) and isinstance(high, int)
    return Interval(low=low, high=high, log=log, whole=whole)
