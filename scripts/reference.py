"""Writes docs/reference/ from the code: every setting of every command, and every number a run logs.

python -m scripts.reference    # tests/docs/test_reference.py fails while the pages on disk differ from what this writes
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from estimators import ESTIMATORS
from estimators.own import loaded
from trainer.commands import table
from trainer.config.derived import Follows, Rule
from trainer.config.ranges import range_words
from trainer.report.meanings import MEANINGS
from trainer.scorers import SCORERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
COMMANDS: Mapping[str, Any] = {name: table.named(command.config) for name, command in table.COMMANDS.items()}
SETTINGS_TOP = """\
# Settings

Written by `python -m scripts.reference` from the config records in the code; do not edit by hand.

A setting is given on the command line as `group.name=value`, with the dotted name of these tables.
`stepcredit COMMAND --cfg job` prints what a command would run with, `stepcredit COMMAND --help` its groups.
*Required* settings have no default in the code: the command's YAML, or the group chosen, sets them. *Follows*: takes
the value of the other setting, or one computed from it.
"""
TABLE = ("| setting | type | default | range | meaning |", "|---|---|---|---|---|")
METRICS_TOP = """\
# Logged numbers

Written by `python -m scripts.reference` from the code; do not edit by hand.

Every number goes to `metrics.jsonl` in the run's folder (one line an update), to TensorBoard and to wandb, under the
same name.
"""


def settings_page() -> str:
    """The page of all settings: commands, then the groups that commands have, then the options of each estimator and
    scorer."""
    parts, groups = [SETTINGS_TOP], dict[tuple[str, type], list[str]]()
    for command, config in COMMANDS.items():
        for path, group in _groups(config, ""):
            groups.setdefault((path, group), []).append(command)
        parts += [f"## stepcredit {command}\n", _summary(config), _linked(config)]
        parts += [_table(config, "", _derived(config))]
    titles = [path for path, _ in groups]
    for (path, group), commands in sorted(groups.items(), key=lambda item: item[0][0]):
        which = f" ({', '.join(commands)})" if titles.count(path) > 1 else ""
        users = ", ".join(f"`{command}`" for command in commands)
        rules = {name: rule for command in reversed(commands) for name, rule in _derived(COMMANDS[command]).items()}
        parts += [f"## {path}{which}\n", _summary(group), f"Used by {users}.\n", _table(group, f"{path}.", rules)]
    for name, estimator in ESTIMATORS.items():
        if isinstance(estimator, type) and is_dataclass(estimator):
            parts += [f"## estimator={name}\n", _summary(estimator), _table(estimator, "estimator.", {})]
    for name, target in SCORERS.items():
        scorer: Any = loaded(target)
        parts += [f"## scorer={name}\n", _summary(scorer), _table(scorer, "scorer.", {})]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def metrics_page() -> str:
    """The page of all logged numbers, a section for each first part of a name."""
    parts = [METRICS_TOP]
    for section, names in groupby(MEANINGS, key=lambda name: name.partition("/")[0]):
        rows = [
            f"| `{name}` | {MEANINGS[name].unit} | {MEANINGS[name].range} | {_cell(MEANINGS[name].meaning)} |"
            for name in names
        ]
        parts += [f"## {section}\n", "| number | unit | range | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


def _groups(config: type, path: str) -> Iterator[tuple[str, type]]:
    """(dotted path, record) of every group inside a record, at any depth."""
    for name, kind in get_type_hints(config).items():
        if (group := _group(kind)) is not None:
            yield f"{path}{name}", group
            yield from _groups(group, f"{path}{name}.")


def _group(kind: Any) -> type | None:
    """The record that a setting holds, alone, optional or in a list; None for a plain value."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind
    kinds = [inner for inner in get_args(kind) if inner not in (NoneType, Ellipsis)]
    return _group(kinds[0]) if len(kinds) == 1 else None


def _linked(config: type) -> str:
    names = [name for name, kind in get_type_hints(config).items() if _group(kind)]
    links = ",\n".join(f"[`{name}`](#{name})" for name in names)
    return f"Groups:\n{links}.\n" if links else ""


def _table(config: type, prefix: str, derived: Mapping[str, Rule]) -> str:
    """The settings of one record that are no groups; nothing where it has none."""
    texts, hints, rows = _docstrings(config), get_type_hints(config, include_extras=True), list[str]()
    for field in fields(config):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        if field.init and _group(hint) is None:
            default, text = _default(field, derived.get(name)), _cell(texts.get(field.name, ""))
            rows.append(f"| `{name}` | {_kind(hint)} | {default} | {_range(hint)} | {text} |")
    return "\n".join([*TABLE, *rows, ""]) if rows else ""


def _derived(config: type) -> Mapping[str, Rule]:
    """The settings of a command that follow from others, by dotted name."""
    return getattr(config, "derived", {})


def _docstrings(config: type) -> dict[str, str]:
    """The docstring under each field, those of the classes it inherits from included."""
    texts = dict[str, str]()
    for owner in (owner for owner in reversed(config.__mro__) if is_dataclass(owner)):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        for line, after in pairwise(ast.iter_child_nodes(body)):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                texts[ast.unparse(line.target)] = inspect.cleandoc(str(after.value.value))
    return texts


def _kind(hint: Any) -> str:
    """A type in words: what may be written on the command line."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(_code(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in inner)
    if origin is tuple:
        return f"list of {_kind(inner[0])}" if inner[-1] is Ellipsis else f"list of {len(inner)} {_kind(inner[0])}"
    if hint is NoneType:
        return _code(None)
    return "mapping" if origin is not None else getattr(hint, "__name__", str(hint))


def _range(hint: Any) -> str:
    """The range that stands on a type, at any depth, in words."""
    own = range_words(hint.__metadata__) if get_origin(hint) is Annotated else ""
    inner = [_range(part) for part in get_args(hint) if not isinstance(part, str)]
    return own or ", ".join(dict.fromkeys(words for words in inner if words))


def _default(field: Field[Any], rule: Rule | None) -> str:
    if isinstance(rule, Follows):
        return f"{'`null`: follows' if rule.free else 'always that of'} `{rule.source}`"
    if field.default_factory is not MISSING:
        return _code(field.default_factory())
    return "required" if field.default is MISSING else _code(field.default)


def _summary(config: type) -> str:
    """The first paragraph of a record's docstring."""
    return inspect.cleandoc(config.__doc__ or "").partition("\n\n")[0] + "\n"


def _code(value: Any) -> str:
    """A value as YAML has it, in code marks and in one line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"`{' '.join(text.splitlines())}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write both pages."""
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / "settings.md").write_text(settings_page())
    (PAGES / "metrics.md").write_text(metrics_page())


if __name__ == "__main__":
    main()
