"""The labs of a sweep in one set of tables, whose rows name the settings that were swept."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.measure.truth import WITH_SCORER, TruthComparison
from trainer.lab.report.numbers import FILE, Numbers, read_numbers
from trainer.lab.report.tables import recorded_grids, truth_grids
from trainer.report.grid import Grid, markdown
from trainer.report.progress import Display
from trainer.report.terminal import TerminalTable


def join(folder: Path, display: Display) -> None:
    """Print the labs below `folder` as one and write their tables there as sweep.md; do nothing for fewer than two."""
    labs = [read_numbers(path.parent) for path in sorted(folder.glob(f"*/{FILE}"), key=_number)]
    if len(labs) < 2:
        return
    grids = list(joined(labs))
    for grid in grids:
        display.console.print(TerminalTable(grid))
    tables = folder / "sweep.md"
    tables.write_text("\n".join(map(markdown, grids)))
    display.line(f"the sweep's tables: {tables}")


def joined(labs: Sequence[Numbers]) -> Iterator[Grid]:
    """The generated worlds of all labs, then their recorded rollouts. What no swept setting changes stands once."""
    yield from _truth(labs)
    yield from _recorded(labs)


def _truth(labs: Sequence[Numbers]) -> Iterator[Grid]:
    """A scorer's row follows its estimator's. Its label has all of its options, so nothing is added to it."""
    comparisons: dict[tuple[int, int, str, str], TruthComparison] = {}
    labels = _labels(labs, "generated")
    order = _order(labels)
    for lab, names in zip(labs, labels, strict=True):
        for comparison in lab.truth:
            label, plus, scorer = comparison.estimator.partition(WITH_SCORER)
            named = replace(comparison, estimator=f"{names[label]}{plus}{scorer}")
            place = (named.size, order.index(names[label]))
            comparisons.setdefault((*place, named.world, named.estimator), named)
    in_order = sorted(comparisons.items(), key=lambda item: item[0][:2])  # of one place: as they were measured
    return truth_grids([comparison for _, comparison in in_order])


def _recorded(labs: Sequence[Numbers]) -> Iterator[Grid]:
    """Tables for every run, and for every choice of its updates."""
    runs: dict[tuple[str, ...], dict[int, UpdateCredit]] = {}
    labels = _labels(labs, "recorded")
    order = _order(labels)
    for lab, names in zip(labs, labels, strict=True):
        updates = runs.setdefault((str(lab.config["run"]), *(str(update.update) for update in lab.recorded)), {})
        for update in lab.recorded:
            earlier = updates[update.update].credit if update.update in updates else {}
            credit = earlier | {names[name]: entry for name, entry in update.credit.items()}
            ordered = dict(sorted(credit.items(), key=lambda item: order.index(item[0])))
            updates[update.update] = replace(update, credit=ordered)
    for (run, *_), updates in runs.items():
        of_run = f": {run}" if len(runs) > 1 else ""
        for grid in recorded_grids(list(updates.values())):
            yield replace(grid, title=grid.title + of_run)


def _number(path: Path) -> tuple[int, str]:
    """Sorts jobs in the order of their start: "10_eps-0.1" comes after "9_eps-0.1"."""
    job = path.parent.name
    first = re.match(r"\d+", job)
    return (int(first[0]) if first else 0, job)


def _labels(labs: Sequence[Numbers], kind: str) -> list[dict[str, str]]:
    """For each lab, its estimators' labels followed by those of their settings that differ between labs."""
    settings = [{name: _settings(lab, kind, options) for name, options in lab.options[kind].items()} for lab in labs]
    values: dict[tuple[str, str], list[Any]] = {}
    for name, key, value in (
        (name, *item) for lab in settings for name, of_name in lab.items() for item in of_name.items()
    ):
        distinct = values.setdefault((name, key), [])
        if value not in distinct:
            distinct.append(value)

    def label(name: str, of_name: Mapping[str, Any]) -> str:
        swept = (key for key in of_name if len(values[name, key]) > 1)
        return " ".join([name, *(_word(key, of_name[key], values[name, key]) for key in swept)])

    return [{name: label(name, of_name) for name, of_name in lab.items()} for lab in settings]


def _order(labels: Sequence[Mapping[str, str]]) -> list[str]:
    """All labels; those of one estimator stand next to each other."""
    names = dict.fromkeys(name for lab in labels for name in lab)
    return list(dict.fromkeys(lab[name] for name in names for lab in labels if name in lab))


def _settings(lab: Numbers, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that an estimator's numbers depend on, without the run, the group sizes and the worlds."""
    settings = {key: value for key, value in options.items() if key != "layer"}
    if kind == "recorded":
        return settings | ({key: lab.config[key] for key in ("layer", "weights")} if "layer" in options else {})
    settings |= {"seed": lab.config["seed"]} | _flat("truth", lab.config["truth"])
    for place in ("truth.sizes", "truth.worlds"):
        settings.pop(place, None)
    return settings


def _flat(key: str, value: Any) -> dict[str, Any]:
    """Nested settings by their dotted names, as on the command line."""
    if not isinstance(value, dict):
        return {key: value}
    return {name: leaf for part, inner in value.items() for name, leaf in _flat(f"{key}.{part}", inner).items()}


def _word(key: str, value: Any, distinct: Sequence[Any]) -> str:
    """Such as "eps=0.1"; a list or mapping is named by its place among the sweep's distinct values."""
    return f"{key}#{distinct.index(value)}" if isinstance(value, list | dict) else f"{key}={value}"
