"""The panels of a world as the commands use them: made from its splits, written to a file, read back."""

import json
from collections.abc import Sequence
from pathlib import Path

from envs import find
from envs.base import Defining
from envs.panel import Difference, Panel, compare, panel_of, read_manifest
from trainer.config.build import ConfigError
from trainer.config.settings import EnvConfig
from trainer.data.tasks import spread
from trainer.durable import write_whole
from trainer.setup.world import World, world_reference

FILE = "panel.json"
"""The panel of a run or an evaluation, in its folder."""


def panel(config: EnvConfig, world: World, split: str, count: int | None = None) -> Panel:
    """The panel that `count` tasks of a split make (None: all), chosen and ordered as a validation does.

    Raises EnvError for a split that the world does not have, and for one that lists a task twice.
    """
    task_ids = world.env.tasks(split)
    chosen = spread(task_ids, count or len(task_ids))
    return panel_of(world.env, world=find(world_reference(config)).name, split=split, task_ids=chosen)


def training_panel(config: EnvConfig, world: World) -> Panel | None:
    """All training tasks; None for a world that does not say what its tasks are, where each would have to be begun."""
    return panel(config, world, config.train_split) if isinstance(world.env, Defining) else None


def trained_copies(played: Panel, trained: Panel | None) -> tuple[str, ...]:
    """Tasks of a panel that are trained on under another id: what they are is equal. A leak that ids do not show."""
    tasks = () if trained is None else trained.tasks
    ids, contents = {task.task_id for task in tasks}, {task.digest for task in tasks}
    return tuple(task.task_id for task in played.tasks if task.task_id not in ids and task.digest in contents)


def as_json(panels: Sequence[Panel]) -> str:
    """One line, which `read_panels` reads."""
    return json.dumps({"panels": [one.manifest() for one in panels]})


def write_panel(folder: Path, one: Panel) -> None:
    """Write a panel for `changed_since`. A kill leaves a whole file or none."""
    write_whole(folder / FILE, as_json([one]))


def read_panels(path: Path) -> tuple[Panel, ...]:
    """The panels of a file. Raises ConfigError for a file that holds none, or that was edited."""
    try:
        panels = tuple(map(read_manifest, json.loads(path.read_text())["panels"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read as panels ({error}): write it with stepcredit panel ENV --json > FILE"
        ) from error
    if not panels:  # to compare with none would find all equal
        raise ConfigError(f"{path} holds no panel: write it with stepcredit panel ENV --json > FILE")
    return panels


def changed_since(folder: Path, now: Panel, *, may_choose: bool) -> Difference | None:
    """How the panel differs from the one in a folder; None where it is the same, or the folder has none.

    may_choose: whether a continuation may play other tasks of the split, or as many as it likes. Raises ConfigError
    where it may not and does, and where tasks are not what they were: it would mix results of two kinds.
    """
    if not (folder / FILE).is_file():
        return None
    (before,) = read_panels(folder / FILE)
    difference = compare(before, now)
    if difference.changed or difference.facts or (difference and not may_choose):
        first = f", {difference.changed[0]!r} the first" if difference.changed else ""
        raise ConfigError(
            f"{folder / FILE} is of other tasks than env.options give now ({difference}{first}): give the data that it "
            "was begun with, or start anew in another output folder"
        )
    return difference or None
