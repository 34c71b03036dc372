"""Settings of `stepcredit table`: what a table of the papers is made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from annotated_types import Predicate, doc

from rollout.endpoint_address import is_url
from trainer.cells.launcher import Launcher
from trainer.config.build import ConfigError
from trainer.config.continuing import flat
from trainer.config.quoting import quoted, word

MEASURES = ("success", "score", "success KIND")
GIVEN = ("seed", "output", "resume", "model.source", "endpoint")
"""Settings that a table gives to each of its cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A number of a paper, in percent."""

    value: float
    """The mean over its runs."""

    spread: float | None = None
    """The standard deviation over its runs; None where the paper gives none."""

    @classmethod
    def of(cls, value: Any) -> "Published":
        """A number, or a list of the number and its spread. Raises ConfigError for another value."""
        numbers = value if isinstance(value, list | tuple) else [value]
        if not 1 <= len(numbers) <= 2 or not all(isinstance(one, int | float) for one in numbers):
            raise ConfigError(f"published {value!r} is no number: write 72.8, or [72.8, 3.6] with its spread")
        return cls(value=float(numbers[0]), spread=float(numbers[1]) if len(numbers) == 2 else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A warm start that rows share: one for each seed, whose model is their model.source."""

    name: str
    """What rows call it."""

    overrides: tuple[str, ...]
    """Settings of `stepcredit warmstart`, without the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table: a command with its settings, once for each seed."""

    name: str
    """A short name, by which `rows` selects it."""

    title: str
    """What the table calls it."""

    command: Literal["train", "evaluate"] = "train"
    """The command of its cells."""

    overrides: tuple[str, ...] = ()
    """Its settings, which replace those of all cells."""

    start: str | None = None
    """The warm start that its cells begin from; null begins from the model as it is."""

    endpoint: bool = False
    """Whether its cells, of `stepcredit evaluate`, ask the model that `endpoint` and `endpoint_model` name."""

    published: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The paper's number by column: 72.8, or [72.8, 3.6] with its standard deviation."""

    source: str | None = None
    """Where the published numbers stand, such as "arXiv 2505.10978 table 1"."""

    note: str = ""
    """How the row differs from the paper's, where no setting shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Rows that are also compared with the baseline as one, by their mean: one comparison in place of many."""

    title: str
    """What they have in common."""

    rows: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table."""

    title: str
    """Its heading."""

    columns: Mapping[str, str]
    """What each column shows: "success", "score", or "success KIND" for one kind of task. The first one decides which
    validation is the best, and is the one whose differences are shown."""

    rows: tuple[Row, ...]
    """In the order in which they are shown."""

    seeds: tuple[int, ...]
    """Seeds of every row. Runs of one seed share their start, their tasks and the randomness of their validations."""

    train: tuple[str, ...] = ()
    """Settings of all cells that train."""

    evaluate: tuple[str, ...] = ()
    """Settings of all cells that evaluate."""

    starts: tuple[Start, ...] = ()
    """Warm starts that rows name."""

    baseline: str | None = None
    """The row that all others are compared with, besides the row above each; null compares with none."""

    together: tuple[Together, ...] = ()
    """Rows that are compared as one."""

    note: str = ""
    """What the published numbers are of."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        for what, values in (("rows", names), ("seeds", self.seeds), ("starts", [one.name for one in self.starts])):
            if len(set(values)) < len(values):
                raise ConfigError(f"table.{what} has {list(values)}: give each a name of its own")
        for what, values in (("rows", names), ("seeds", self.seeds), ("columns", self.columns)):
            if not values:
                raise ConfigError(f"table.{what} is empty: give one or more")
        for column, measure in self.columns.items():
            if measure not in MEASURES and not str(measure).startswith("success "):
                raise ConfigError(f"table.columns.{column}={measure!r}: choose one of {', '.join(MEASURES)}")
        if self.baseline is not None and self.baseline not in names:
            raise ConfigError(f"table.baseline={self.baseline!r} is no row: choose one of {', '.join(names)}")
        others = [name for name in names if name != self.baseline]
        for one in self.together:
            if self.baseline is None or len(set(one.rows)) < 2 or not set(one.rows) <= set(others):
                remedy = f"name a baseline, and two or more of {', '.join(others)}, or " if len(others) > 1 else ""
                raise ConfigError(f"table.together {one.title!r} has {list(one.rows)}: {remedy}set table.together: []")
        for row in self.rows:
            if row.start not in (None, *(one.name for one in self.starts)):
                raise ConfigError(f"row {row.name!r} has start={row.start!r}, which table.starts does not define")
            if row.endpoint and row.command != "evaluate":
                raise ConfigError(f"row {row.name!r} asks an endpoint and trains: give it command: evaluate")
            if unknown := set(row.published) - set(self.columns):
                raise ConfigError(f"row {row.name!r} has a published number for {min(unknown)!r}, which is no column")
            for value in row.published.values():
                Published.of(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """A table of runs beside the published numbers."""

    name: str
    """The table's name, which the command's first word gives."""

    output: str
    """Folder of the cells and the report; null takes outputs/table/NAME."""

    table: TableSpec
    """The table."""

    launcher: Launcher = field(default_factory=Launcher)
    """Where the cells run."""

    rows: tuple[str, ...] | None = None
    """Names of the rows to run and show; null takes all."""

    seeds: tuple[int, ...] | None = None
    """Seeds to run and show; null takes those of the table."""

    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings for every cell that trains or evaluates, which replace the table's: +set.updates=9 +set.cluster=gpu8.
    Those of the cluster hold for warm starts too."""

    endpoint: Annotated[str | None, Predicate(is_url), doc("a URL without a key: http://localhost:8000/v1")] = None
    """URL of an OpenAI-compatible server, for the rows of a model behind an endpoint; null: these rows are missing."""

    endpoint_model: str | None = None
    """The name of its model, such as "gpt-4o"; null as `endpoint`."""

    runs: str | None = None
    """Folder of finished runs with a table's settings, or of reports (report.json under any name), such as those of
    other machines: the report is made of them, and nothing runs. null runs the cells."""

    dry_run: bool = False
    """Whether to say what would run and what is missing here, and run nothing."""

    resume: Literal["never", "auto"] = "auto"
    """Whether to go on with the cells in the output folder; "never" refuses a folder that holds any."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.table.rows]
        for row in self.rows or ():
            if row not in names:
                near = get_close_matches(row, names, n=1)
                question = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"rows={row!r} is not in table {self.name!r}: {question}choose one of {', '.join(names)}"
                )
        if (self.endpoint is None) != (self.endpoint_model is None):
            raise ConfigError(
                f"endpoint={self.endpoint} with endpoint_model={self.endpoint_model}: give both, or neither"
            )
        if self.runs is not None and self.dry_run:
            raise ConfigError(f"runs={self.runs} runs nothing, so there is no plan of it to show: leave --dry-run out")
        if min(self.seeds or self.table.seeds) < 0:
            raise ConfigError(f"seeds={list(self.seeds or self.table.seeds)}: give seeds of 0 or more")
        for what in ("rows", "seeds"):
            values = getattr(self, what)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise ConfigError(f"{what}={list(values)}: give one or more, each once, or null for all")
        for name in flat(self.set):
            if name in GIVEN:
                raise ConfigError(f"set.{name} is given to each cell by the table itself: leave it out")

    @property
    def own_words(self) -> tuple[str, ...]:
        """`set` as overrides."""
        return tuple(f"{name}={_word(value)}" for name, value in flat(self.set).items())

    @property
    def chosen_rows(self) -> tuple[Row, ...]:
        """The rows to run and show."""
        return tuple(row for row in self.table.rows if self.rows is None or row.name in self.rows)

    @property
    def chosen_seeds(self) -> tuple[int, ...]:
        """The seeds to run and show."""
        return self.table.seeds if self.seeds is None else self.seeds


def _word(value: Any) -> str:
    """A value as Hydra's grammar reads it.

    >>> _word(None), _word(True), _word("a b"), _word([1, "x"])
    ('null', 'true', '"a b"', '[1,"x"]')
    """
    if isinstance(value, str):
        return word(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(quoted(one) if isinstance(one, str) else _word(one) for one in value)}]"
    return json.dumps(value)
