"""Print which tasks the splits of a world hold, or how they differ from those of another machine or day."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from envs import find
from envs.panel import Panel, compare
from trainer.config.build import ConfigError
from trainer.config.showing import PanelConfig
from trainer.report.progress import Display
from trainer.setup.conditions import SHORT
from trainer.setup.panels import as_json, panel, read_panels, trained_copies, training_panel
from trainer.setup.world import World, open_world, world_reference

WIDTH, SHOWN = 80, 10
"""Columns of a table, and tasks of a panel that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelPlan:
    """Panels that can be made."""

    config: PanelConfig
    """What was asked for."""

    world: World
    """The driver's copy of the world, open."""

    before: tuple[Panel, ...]
    """The panels of the file to compare with; none without one."""

    splits: tuple[str, ...]
    """The splits whose panels are made; with a file, one for each of its panels."""


def plan_panel(config: PanelConfig) -> PanelPlan:
    """Open the world, and read the panels that its own are compared with.

    Raises ConfigError or EnvError for a file that holds no panels, or lacks a split that was asked for.
    """
    before = () if config.compare is None else read_panels(Path(config.compare))
    world = open_world(replace(config.env, overlap=True))  # nothing is trained on
    name = find(world_reference(config.env)).name
    if others := [one.world for one in before if one.world != name]:
        raise ConfigError(f"compare={config.compare} has panels of {others[0]!r}, not of {name!r}: name that world")
    splits = (config.split,) if isinstance(config.split, str) else config.split
    if config.compare is None:
        splits = splits or (config.env.train_split, config.env.validation_split)
        return PanelPlan(config=config, world=world, before=(), splits=splits)
    names = [one.split for one in before]
    for split in splits or ():
        if split not in names:
            raise ConfigError(f"split={split!r} is not in compare={config.compare}: it has {', '.join(names)}")
    before = tuple(one for one in before if splits is None or one.split in splits)
    return PanelPlan(config=config, world=world, before=before, splits=tuple(one.split for one in before))


def show_panels(plan: PanelPlan, display: Display) -> None:
    """Print the panels, or how they differ from those of the file. Exit code 1 where they do."""
    config = plan.config
    with display.doing("reading the tasks"):
        panels = [panel(config.env, plan.world, split, config.tasks) for split in plan.splits]
    if config.compare is not None:
        _show_differences(plan, panels, display)
    elif config.json:
        display.line(as_json(panels))
    else:
        for one in panels:
            _show(one, display)
        _show_copies(plan, panels, display)


def _show_differences(plan: PanelPlan, panels: list[Panel], display: Display) -> None:
    differences = {now.split: compare(before, now) for before, now in zip(plan.before, panels, strict=True)}
    if plan.config.json:
        display.line(json.dumps({split: asdict(one) for split, one in differences.items()}))
    for split, difference in () if plan.config.json else differences.items():
        display.line(f"{split}: {difference}")
        for name in ("added", "lost", "changed", "moved"):
            for task_id in getattr(difference, name)[:SHOWN]:
                display.line(f"  {name:<8}{task_id}")
            if (hidden := len(getattr(difference, name)) - SHOWN) > 0:
                display.line(f"  {name:<8}and {hidden} more: --json lists all")
    if any(differences.values()):
        raise SystemExit(1)


def _show(one: Panel, display: Display) -> None:
    """Counts by kind, the facts, and the first tasks in their order."""
    display.line(f"{one.world} {one.split}, digest {one.digest[:SHORT]}")
    for name, value in one.facts.items():
        display.line(f"  {name} {value}")
    head = Table(width=WIDTH)
    head.add_column("kind", ratio=1, overflow="fold")
    head.add_column("tasks", justify="right")
    for kind, count in one.counts.items():
        head.add_row(Text(kind), str(count))
    head.add_section()
    head.add_row("all", str(len(one.tasks)))
    display.console.print(head)
    tasks = Table(width=WIDTH)
    tasks.add_column("no.", justify="right")
    tasks.add_column("task, in the order of the panel", ratio=1, overflow="fold")
    tasks.add_column("digest", no_wrap=True)
    for number, task in enumerate(one.tasks[:SHOWN]):
        tasks.add_row(str(number), Text(task.task_id), task.digest[:SHORT])
    if len(one.tasks) > SHOWN:
        tasks.add_row("", f"and {len(one.tasks) - SHOWN} more: --json lists all", "")
    display.console.print(tasks)


def _show_copies(plan: PanelPlan, panels: list[Panel], display: Display) -> None:
    """Tell which tasks are training tasks under another id."""
    env = plan.config.env
    held_out = [one for one in panels if one.split != env.train_split]
    trained = training_panel(env, plan.world) if held_out else None
    for one in held_out:
        if copies := trained_copies(one, trained):
            named = ", ".join(copies[:SHOWN]) + (" ..." if len(copies) > SHOWN else "")
            counts = f"{len(copies)} of {len(one.tasks)} tasks of {one.split}"
            display.line(f"{counts} are in {env.train_split} too, under another id: {named}")
