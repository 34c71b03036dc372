"""Sweeps: Hydra's multirun, whose jobs are cells. Each is a run of its own in a folder named by a short digest.

A sweep's folder has cells.json and cells.md, the index of its cells; sweep.json, the command line that it was started
with; and cells/. `sweep.resume=DIR` goes on there.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher as LauncherPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.cells.cell import DONE, Cell, Outcome, State, cell_of, key_of, room_of
from trainer.cells.index import Index, earlier_cells, terminal
from trainer.cells.launch import Watcher, exit_code, run_cells
from trainer.cells.launcher import Launcher
from trainer.cells.search import Search
from trainer.commands.interrupt import Interruption
from trainer.commands.outputs import claimed
from trainer.commands.table import Command, Output, name_of, named
from trainer.config.build import ConfigError, ModelError, build
from trainer.durable import write_whole
from trainer.report.progress import Display

FILE = "sweep.json"
RESUME = "sweep.resume"
MULTIRUN = ("--multirun", "-m")
SWEEP = Output(what="a sweep", default="", leaves=(FILE,), go_on=f"{RESUME}={{folder}}")
# What may change when a sweep goes on: where its cells run, not which they are.
FREE = ("hydra.launcher.", "hydra/launcher", "hydra.sweeper.n_trials", "hydra.sweep.dir")
NEEDS = "trainer.setup.job_needs:job_needs"  # by name: other launchers do not wait for it
UNBUILT = (ConfigError, ModelError, OmegaConfBaseException)
OWN = ("output", "resume")  # settings that a sweep gives to its cells


class Sweep:
    """The sweep of one call of `stepcredit`: its command line, its folder once that is known, and its outcomes."""

    def __init__(self, command: Command, interruption: Interruption) -> None:
        self.command, self.interruption = command, interruption
        self.resumed: Path | None = None
        """The folder of an earlier sweep that this one goes on with."""
        self.folder: Path | None = None
        """Where its cells lie; None as long as none was launched."""
        self.index: Index | None = None
        """All of its cells, those that an earlier start of a search ran included."""
        self.outcomes: dict[str, Outcome] = {}
        """By digest, in the order of their start: of the cells that this start looked at."""
        self.fault: str | None = None
        """Why the sweep is worth nothing although its cells finished."""
        self.searches = False
        """Whether its cells are a search's, which proposes others in the place of those that failed."""
        self._words: list[str] = []

    def take(self, words: Sequence[str]) -> list[str]:
        """The words for Hydra: without sweep.resume=DIR, and with those that the sweep in DIR was started with.

        Raises ConfigError for a folder without a sweep, and for words of another sweep than the one that lies there.
        """
        places = [word.partition("=")[2] for word in words if word.partition("=")[0] == RESUME]
        self._words = [word for word in words if word.partition("=")[0] != RESUME]
        if places:
            self.resumed = Path(places[-1].strip("'\"")).absolute()
            self._words = self._gone_on(self.resumed)
        return self._words

    def _gone_on(self, folder: Path) -> list[str]:
        """The words of the sweep in `folder`, with what may change taken from the words of now."""
        command, before = read_sweep(folder)
        name = name_of(self.command)
        if command != name:
            raise ConfigError(f"{RESUME}={folder} is a sweep of stepcredit {command}, not of {name}: name that command")
        now, then = (_lasting(words) for words in (self._words, before))
        if now and now != then:
            other = [*(f"{word} is new" for word in sorted(now - then)), *(f"{word} is gone" for word in then - now)]
            raise ConfigError(
                f"{RESUME}={folder} is another sweep ({', '.join(other)}): leave its settings out, as in stepcredit "
                f"{name} {RESUME}={folder}, or start a sweep of its own without {RESUME}"
            )
        free = [word for word in self._words if key_of(word).startswith(FREE)]
        replaced = {key_of(word) for word in free}
        kept = [word for word in before if key_of(word) not in replaced and not word.startswith("hydra.sweep.dir=")]
        return [*kept, *free]

    def start(self, folder: Path) -> None:
        """Write what the sweep in `folder` is."""
        self.folder = folder
        self.interruption.remedy = lambda: f"go on with {self.how_to_go_on}"
        write_whole(
            folder / FILE, json.dumps({"command": name_of(self.command), "words": self._words}, indent=2) + "\n"
        )

    @property
    def how_to_go_on(self) -> str:
        """The command that goes on with the sweep."""
        return f"stepcredit {name_of(self.command)} {RESUME}={self.folder}"

    def tell(self, display: Display) -> str | None:
        """Print the table of all cells. Returns the line that the sweep ends with; None where all is well."""
        if self.folder is None or self.index is None:
            return None
        outcomes = tuple(self.outcomes.values())
        display.console.print(terminal(self.index.outcomes), soft_wrap=False)
        display.line(f"the sweep: {self.folder}")
        states = [outcome.state for outcome in outcomes]
        if not (bad := [state for state in states if state not in DONE]):
            return self.fault
        if self.fault is not None:
            display.line(self.fault)
        counts = ", ".join(f"{bad.count(state)} {state}" for state in State if state in bad)
        again = "what was cut off is" if self.searches else "those are"
        return (
            f"of {len(states)} cells {len(states) - len(bad)} finished, {counts} (see {self.folder / 'cells.md'}): "
            f"{again} tried again by {self.how_to_go_on}"
        )

    @property
    def code(self) -> int:
        """The exit code of the sweep."""
        return exit_code(self.outcomes.values()) or int(self.fault is not None)


def read_sweep(folder: Path) -> tuple[str, list[str]]:
    """The command and the words of the sweep in a folder. Raises ConfigError where there is none."""
    try:
        values = json.loads((folder / FILE).read_text())
        return values["command"], list(values["words"])
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no sweep (it has no {FILE}): name the folder that the sweep named") from None
    except NotADirectoryError:
        raise ConfigError(f"{folder} is a file: name the folder of the sweep, such as {folder.parent}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / FILE} is broken ({error}): start the sweep anew") from error


def _lasting(words: Iterable[str]) -> set[str]:
    """The words that make a sweep what it is."""
    return {word for word in words if word not in MULTIRUN and not key_of(word).startswith(FREE)}


class CellLauncher(LauncherPlugin):
    """Hydra's jobs as cells. Hydra makes the object from hydra/launcher=local, ray or submitit."""

    __module__ = "hydra_plugins.stepcredit"  # Hydra takes no launcher of another package

    sweep: Sweep
    """Of the command that runs; `execute` sets it."""

    def __init__(self, **values: Any) -> None:
        """values: the fields of Launcher."""
        plain: Any = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
        self.launcher = build(Launcher, plain, "hydra.launcher.")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a cell for each list of overrides."""
        del initial_job_idx
        folder = Path(self._config.hydra.sweep.dir).absolute()
        cells = self.cells(job_overrides, folder, varied=_varied(job_overrides))
        with self._held(folder, cells) as index:
            outcomes = self._run(cells, index, count=len(cells))
        return [_returned(outcome) for outcome in outcomes]

    def search(self, search: Callable[[Index], Search], folder: Path, *, count: int, at_once: int) -> None:
        """Run the cells that a search proposes, `count` at most. search: makes it, from the index of its cells.

        at_once: how many run together where the launcher would start all: a search learns from those that have ended.
        Raises ConfigError where it goes by a validation, and its cells have none.
        """
        self._check_validates()
        self.sweep.searches = True
        if self.launcher.kind != "local" and self.launcher.parallel is None:
            self.launcher = replace(self.launcher, parallel=at_once)
        with self._held(folder, ()) as index:
            watcher = search(index)
            self._run(watcher.cells(), watcher, count=count)
        if watcher.complaint is not None and watcher.learned:
            Display().line(watcher.complaint)
        else:
            self.sweep.fault = watcher.complaint

    @contextmanager
    def _held(self, folder: Path, known: Sequence[Cell]) -> Iterator[Index]:
        """Hold the sweep's folder. Yields the index of its cells: those that lie there already, and then `known`."""
        sweep = self.sweep
        with claimed(folder, SWEEP, chosen=True, resumes=folder in (sweep.resumed, sweep.folder)):
            sweep.start(folder)
            sweep.index = Index(folder, [*earlier_cells(folder, **self._of_command), *known])
            yield sweep.index

    def _run(self, cells: Iterable[Cell], watcher: Watcher, *, count: int) -> tuple[Outcome, ...]:
        """Run cells in the folder that is held."""
        display = Display()
        with display.beating():
            outcomes = run_cells(cells, launcher=self.launcher, display=display, watcher=watcher, count=count)
        self.sweep.outcomes |= {outcome.cell.digest: outcome for outcome in outcomes}
        return outcomes

    def cells(self, jobs: Sequence[Sequence[str]], folder: Path, *, varied: Set[str]) -> list[Cell]:
        """The cell of each list of overrides. varied: the settings that tell one cell from another.

        Raises ConfigError for a setting that the sweep itself gives to cells.
        """
        keys = {key_of(word) for words in jobs for word in words}
        if own := [name for name in OWN if name in keys]:
            raise ConfigError(
                f"{own[0]}=... with --multirun, which gives each cell a folder of its own: choose the sweep's with "
                f"hydra.sweep.dir=DIR, and go on with {RESUME}=DIR"
            )
        options = _options(sys.argv[1:])
        return [
            cell_of(
                name_of(self.sweep.command),
                [*options, *words],
                folder,
                title=" ".join(word for word in words if key_of(word) in varied) or " ".join(words) or "no settings",
                **self._of_command,
                **self._needs(words),
            )
            for words in jobs
        ]

    @property
    def _of_command(self) -> Mapping[str, Any]:
        """What every cell of the command has."""
        output = self.sweep.command.output
        writes = "nothing" if output is None else "folder" if output.leaves else "file"
        return {"writes": writes, "resumes": output is not None and output.resumable}

    def _check_validates(self) -> None:
        metric, loader = str(self._config.hydra.sweeper.metric), self._context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(
            list(self._config.hydra.overrides.task)
        )
        fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
        validation = loader.load_sweep_config(self._config, fixed).get("validation")
        if metric.startswith("validation/") and validation is not None and validation.every is None:
            raise ConfigError(
                f"validation.every=null, but the search goes by hydra.sweeper.metric={metric}: give validation.every a "
                "number, or name another metric"
            )

    def _needs(self, words: Sequence[str]) -> Mapping[str, int | None]:
        """The cores and GPUs that the cell with these overrides takes, and what a job of its own asks for."""
        composed = self._context.config_loader.load_sweep_config(self._config, list(words))
        room = room_of(composed.get("cluster"))
        if self.launcher.kind != "submitit":
            return room
        config = None
        with suppress(*UNBUILT):  # the cell itself is refused then, and says why
            own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            values: Any = OmegaConf.to_container(own, resolve=True)
            output = {"output": values["output"] or ""} if "output" in values else {}
            config = build(cast(Any, named(self.sweep.command.config)), {**values, **output})
        return {**room, **named(NEEDS)(config)}


def _options(words: Sequence[str]) -> list[str]:
    """The options of Hydra's parser that each cell needs too, each as one word."""
    folders = [word for word in words if word.startswith("--config-dir=")]
    pairs = pairwise(words)
    return [*folders, *(f"--config-dir={after}" for word, after in pairs if word in ("--config-dir", "-cd"))]


def _varied(jobs: Sequence[Sequence[str]]) -> set[str]:
    """The settings in which jobs differ."""
    values = dict[str, set[str]]()
    for words in jobs:
        for word in words:
            values.setdefault(key_of(word), set()).add(word)
    return {key for key, words in values.items() if len(words) > 1}


def _returned(outcome: Outcome) -> JobReturn:
    """What Hydra's sweepers look at. A cell that did not finish is told by the sweep itself."""
    job = JobReturn(overrides=list(outcome.cell.words), status=JobStatus.COMPLETED)
    job.return_value = outcome
    return job
