"""The labs of a sweep in one: tables whose estimators are told apart by the settings that were swept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.measure.truth import TruthError
from trainer.lab.report.numbers import FILE, Numbers, read_numbers
from trainer.lab.report.tables import Grid, markdown, on_terminal, recorded_grids, truth_grids
from trainer.report.progress import Display


def join(folder: Path, display: Display) -> None:
    """Print the labs below `folder` as one and leave them there as sweep.md; nothing where there are not two."""
    labs = [read_numbers(path.parent) for path in sorted(folder.glob(f"*/{FILE}"), key=_number)]
    if len(labs) < 2:
        return
    grids = list(joined(labs))
    for grid in grids:
        display.console.print(on_terminal(grid))
    tables = folder / "sweep.md"
    tables.write_text("\n".join(map(markdown, grids)))
    display.line(escape(f"the sweep's tables: {tables}"))


def joined(labs: Sequence[Numbers]) -> Iterator[Grid]:
    """The truth of all labs, then their recorded rollouts. What no swept setting changes stands once."""
    yield from _truth(labs)
    yield from _recorded(labs)


def _truth(labs: Sequence[Numbers]) -> Iterator[Grid]:
    found: dict[tuple[str, str, int], TruthError] = {}
    labels = _labels(labs, "generated")
    order = _order(labels)
    for lab, names in zip(labs, labels, strict=True):
        for one in lab.truth:
            named = replace(one, estimator=names[one.estimator])
            found.setdefault((named.world, named.estimator, named.size), named)
    return truth_grids(sorted(found.values(), key=lambda one: (one.size, order.index(one.estimator))))


def _recorded(labs: Sequence[Numbers]) -> Iterator[Grid]:
    """Tables for every run, and for every choice of its updates."""
    runs: dict[tuple[str, ...], dict[int, UpdateCredit]] = {}
    labels = _labels(labs, "recorded")
    order = _order(labels)
    for lab, names in zip(labs, labels, strict=True):
        updates = runs.setdefault((str(lab.config["run"]), *(str(one.update) for one in lab.recorded)), {})
        for one in lab.recorded:
            known = updates[one.update].credit if one.update in updates else {}
            credit = known | {names[name]: told for name, told in one.credit.items()}
            updates[one.update] = replace(
                one, credit=dict(sorted(credit.items(), key=lambda told: order.index(told[0])))
            )
    for (run, *_), updates in runs.items():
        of_run = f": {run}" if len(runs) > 1 else ""
        for grid in recorded_grids(list(updates.values())):
            yield replace(grid, title=grid.title + of_run)


def _number(path: Path) -> tuple[int, str]:
    """Jobs in the order they were begun: "10,eps=0.1" comes after "9,eps=0.1"."""
    job = path.parent.name
    first = job.partition(",")[0]
    return (int(first) if first.isdecimal() else 0, job)


def _labels(labs: Sequence[Numbers], kind: str) -> list[dict[str, str]]:
    """Of each lab: its estimators' labels with those of their settings that are not the same in all labs."""
    settings = [{name: _settings(lab, kind, options) for name, options in lab.options[kind].items()} for lab in labs]
    values: dict[tuple[str, str], list[Any]] = {}
    for name, key, value in ((name, *item) for lab in settings for name, told in lab.items() for item in told.items()):
        seen = values.setdefault((name, key), [])
        if value not in seen:
            seen.append(value)

    def label(name: str, told: Mapping[str, Any]) -> str:
        swept = (key for key in told if len(values[name, key]) > 1)
        return " ".join([name, *(_word(key, told[key], values[name, key]) for key in swept)])

    return [{name: label(name, told) for name, told in lab.items()} for lab in settings]


def _order(labels: Sequence[Mapping[str, str]]) -> list[str]:
    """All labels, those of one estimator beside each other."""
    names = dict.fromkeys(name for lab in labels for name in lab)
    return list(dict.fromkeys(lab[name] for name in names for lab in labels if name in lab))


def _settings(lab: Numbers, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever an estimator's numbers follow from, but the rollouts, the worlds' names and the group sizes."""
    told = {key: value for key, value in options.items() if key != "layer"}
    if kind == "recorded":
        return told | ({key: lab.config[key] for key in ("layer", "weights")} if "layer" in options else {})
    told |= {"seed": lab.config["seed"]} | _flat("truth", lab.config["truth"])
    told.pop("truth.sizes", None)
    return told


def _flat(key: str, value: Any) -> dict[str, Any]:
    """Nested settings by their dotted names, as the command line gives them."""
    if not isinstance(value, dict):
        return {key: value}
    return {name: inner for part, one in value.items() for name, inner in _flat(f"{key}.{part}", one).items()}


def _word(key: str, value: Any, seen: Sequence[Any]) -> str:
    """ "eps=0.1"; a list or mapping by its place among those of the sweep."""
    return f"{key}#{seen.index(value)}" if isinstance(value, list | dict) else f"{key}={value}"
