"""The cells of a table: which there are, what each one lacks on this machine, and how long it may take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from envs.base import EnvError
from envs.panel import Panel, digest_of
from trainer.cells.cell import Cell, canonical, cell_of, key_of, room_of
from trainer.config.build import ConfigError, ModelError, has_setting, is_open, nearest_setting
from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.continuing import plain
from trainer.config.quoting import SINGLE, quoted
from trainer.config.settings import EnvConfig
from trainer.setup.credit import checked_estimator
from trainer.setup.folder import model_folder
from trainer.setup.job_needs import job_needs
from trainer.setup.machine import check_builds, check_machine
from trainer.setup.packing import check_packing
from trainer.setup.panels import panel
from trainer.setup.planned import CARD_GIB, planned
from trainer.setup.protocol import deviations
from trainer.setup.shapes import check_shared, find_shape
from trainer.setup.world import World, open_world
from trainer.tables.config import Row, Start, TableConfig
from trainer.tables.cost import gpu_hours

Composer = Callable[[str, Sequence[str]], tuple[Any, Mapping[str, str]]]
"""(command, words) -> its config, or None, and what is missing, each with the setting that lacks it."""
NO_ENDPOINT = "endpoint=URL endpoint_model=NAME of an OpenAI-compatible server, for the rows that ask one"
CONFIGS = {"train": TrainConfig, "evaluate": EvaluateConfig}
REFUSALS = (ConfigError, ModelError, EnvError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """A row, planned like the command of its cells."""

    row: Row
    """The row."""
    config: TrainConfig | EvaluateConfig | None
    """The config of its cells, with the first seed; None where it cannot be composed."""
    missing: tuple[str, ...]
    """What it lacks here; with any, its cells do not run."""
    fetches: str | None = None
    """The model that it fetches from the hub first; None where it is here."""
    hours: float | None = None
    """GPU-hours of one cell, estimated; None on CPUs."""
    panel: Panel | None = None
    """The tasks of its validations; None where the world cannot be opened here."""
    deviations: tuple[str, ...] = ()
    """Where it is not the published protocol."""
    cells: Mapping[int, Cell]
    """By seed."""
    starts: Mapping[int, Cell]
    """The warm starts that they begin from, by seed; empty without."""


def merged(*words: Sequence[str]) -> tuple[str, ...]:
    """The overrides of all, in canonical order; of one setting the last."""
    return canonical(tuple({key_of(word): word for part in words for word in part}.values()))


def planned_rows(config: TableConfig, compose: Composer) -> tuple[PlannedRow, ...]:
    """Every chosen row with its cells. Each world is opened once.

    Raises ConfigError for a setting of `set` that no command of a table has.
    """
    for word in config.own_words:
        if not any(_takes(command, word) for command in CONFIGS):
            raise ConfigError(f"unknown setting +set.{word}: {nearest_setting(TrainConfig, key_of(word))}")
    worlds = _Worlds()
    starts = {start.name: _starts(config, start, compose) for start in config.table.starts}
    return tuple(
        _planned(config, row, starts[row.start] if row.start else {}, compose, worlds) for row in config.chosen_rows
    )


def _takes(command: str, word: str) -> bool:
    """Whether the command has the setting: of one `set` for all rows, each takes what is its own."""
    kind, key = CONFIGS[command], key_of(word)
    groups = accumulate(key.split("."), "{}.{}".format)
    return has_setting(kind, key) or any(is_open(kind, group) for group in groups)


def _planned(
    config: TableConfig, row: Row, starts: Mapping[int, Cell], compose: Composer, worlds: "_Worlds"
) -> PlannedRow:
    base = config.table.train if row.command == "train" else config.table.evaluate
    words = merged(base, row.overrides, [word for word in config.own_words if _takes(row.command, word)])
    endpoint_words = _asked(config) if row.endpoint else ()
    composed, lacking = compose(row.command, merged(words, endpoint_words, (f"seed={config.chosen_seeds[0]}",)))
    missing = (*lacking, *([NO_ENDPOINT] if row.endpoint and config.endpoint is None else []))
    needs = _needs(config, composed)
    cells = {
        seed: _cell(config, row, words, seed, start=starts.get(seed), needs=needs, asked=endpoint_words)
        for seed in config.chosen_seeds
    }
    if composed is None:
        return PlannedRow(row=row, config=None, missing=missing, cells=cells, starts=starts)
    findings = _Findings(missing)
    world = None
    if not any(setting.startswith("env.") for setting in lacking.values()):
        world = findings.of(lambda: worlds.open(composed.env))
    findings.check(composed, elsewhere=config.launcher.kind != "local")
    tasks = composed.validation.tasks if isinstance(composed, TrainConfig) else composed.tasks
    played = None if world is None else panel(composed.env, world, composed.env.validation_split, tasks)
    shape = None if composed.cluster.device == "cpu" else find_shape(composed.model)
    return PlannedRow(
        row=row,
        config=composed,
        missing=tuple(findings.lines),
        fetches=_fetched(composed),
        hours=gpu_hours(composed, shape, validations_of=len(played.tasks) if played else tasks or 0),
        panel=played,
        deviations=() if world is None else deviations(composed, world),
        cells=cells,
        starts=starts,
    )


def _starts(config: TableConfig, start: Start, compose: Composer) -> dict[int, Cell]:
    """A warm start's cells by seed. They run on the cluster of `set`, and are named without it."""
    cluster = [word for word in config.own_words if key_of(word).partition(".")[0] == "cluster"]
    composed, _ = compose("warmstart", merged(start.overrides, cluster))  # a refusal is told when it runs
    needs = _needs(config, composed)
    cells = dict[int, Cell]()
    for seed in config.chosen_seeds:
        words, title = merged(start.overrides, (f"seed={seed}",)), f"start {start.name}, seed {seed}"
        cell = cell_of("warmstart", words, Path(config.output), title=title, resumes=False, **needs)
        cells[seed] = replace(cell, words=merged(words, cluster))
    return cells


def _needs(config: TableConfig, composed: Any) -> Mapping[str, int | None]:
    """The cores and GPUs that a cell with such settings takes, and what a job of its own asks for."""
    room = room_of(getattr(composed, "cluster", None))
    return {**room, **job_needs(composed)} if config.launcher.kind == "submitit" else room


def _asked(config: TableConfig) -> tuple[str, str]:
    """The words that name an endpoint and its model; of one that is not given, words that plan as if it were."""
    url, model = config.endpoint or "http://localhost/v1", config.endpoint_model or "unknown"
    return f"endpoint={quoted(url)}", f"model.source={quoted(model)}"


def _cell(
    config: TableConfig,
    row: Row,
    words: Sequence[str],
    seed: int,
    *,
    start: Cell | None,
    needs: Mapping[str, int | None],
    asked: Sequence[str],
) -> Cell:
    """The cell of one seed. It is named by its start's name, or by its endpoint's model, not by where these lie.

    So the folder can move, and the server. All seeds of a row are one group at Weights & Biases.
    """
    own = merged(words, (f"seed={seed}",))
    named, real = asked[1:], asked
    if start is not None and not asked:
        folder = quoted(str((start.folder / "model").absolute()), SINGLE)
        named, real = (f"model.source={start.digest}",), (f"model.source={folder}",)
    title = f"{row.name}, seed {seed}"
    cell = cell_of(row.command, merged(own, named), Path(config.output), title=title, **needs)
    group = (f"log.group={quoted(f'{config.name} {row.name}')}",) if row.command == "train" else ()
    return replace(cell, words=merged(group, own, real))


class _Worlds:
    """The worlds that were opened, and the refusals of those that could not be."""

    def __init__(self) -> None:
        self._opened = dict[str, World | Exception]()

    def open(self, config: EnvConfig) -> World:
        """The world of a config. Raises what opening it raised, each time."""
        key = digest_of(plain(config))
        if key not in self._opened:
            try:
                self._opened[key] = open_world(config)
            except REFUSALS as error:
                self._opened[key] = error
        result = self._opened[key]
        if isinstance(result, Exception):
            raise result
        return result


class _Findings:
    """What a row lacks, all of it: a planning function of a command ends at the first."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)

    def of(self, make: Callable[[], Any]) -> Any:
        """What `make` returns; None where it refuses."""
        try:
            return make()
        except REFUSALS as error:
            self.lines.append(str(error))
            return None

    def check(self, config: TrainConfig | EvaluateConfig, *, elsewhere: bool) -> None:
        """The checks that the command's own planning function makes, but for the world and the output folder.

        elsewhere: its cells run on other machines, whose cores and GPUs are theirs to count.
        """
        trains = isinstance(config, TrainConfig)
        for make in _checks(config, trains=trains, elsewhere=elsewhere):
            self.of(make)


def _checks(config: Any, *, trains: bool, elsewhere: bool) -> Iterator[Callable[[], Any]]:
    here = trains or config.endpoint is None
    check = check_builds if elsewhere else check_machine
    if trains:
        yield lambda: _check_measured(config)
        yield lambda: checked_estimator(config)
    yield lambda: check(config.cluster, serves=here, trains=trains)
    if here:
        yield lambda: model_folder(config.model, trained=trains)
        yield lambda: check_shared(config.model, config.engine.tensor_parallel)
    if trains:
        yield lambda: check_packing(config.learner, config.model)
        cluster = config.cluster
        if elsewhere:
            cluster = replace(cluster, gpu_memory_gib=cluster.gpu_memory_gib or CARD_GIB)
        yield lambda: planned(replace(config, cluster=cluster))


def _check_measured(config: TrainConfig) -> None:
    if config.validation.every is None:
        raise ConfigError("validation.every=null: a row without a validation has no number; set it to a number")


def _fetched(config: TrainConfig | EvaluateConfig) -> str | None:
    """The model's name on the hub where it is not in this machine's cache."""
    source = config.model.source
    if source.count("/") != 1 or Path(source).exists() or getattr(config, "endpoint", None) is not None:
        return None
    if isinstance(try_to_load_from_cache(source, "config.json"), str):
        return None
    return source
