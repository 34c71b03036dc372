"""Panels: the tasks that a result is of, written down so that two machines can tell whether theirs are the same."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from envs.base import Defining, Definition, Env, EnvError


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelTask:
    """One task of a panel."""

    task_id: str
    """The world's name of the task."""

    kind: str
    """The label under which results on it are reported."""

    digest: str
    """SHA-256 of what the task is (`Definition.content`), in hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Tasks of one split in the order in which they are numbered, each once."""

    world: str
    """Name of the world."""

    split: str
    """Name of the split that the tasks are of."""

    tasks: tuple[PanelTask, ...]
    """In the world's order."""

    facts: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    """What a result on these tasks must be read with, such as the number of products."""

    def __post_init__(self) -> None:
        counts = Counter(task.task_id for task in self.tasks)
        if twice := [task_id for task_id, count in counts.items() if count > 1]:
            raise EnvError(
                f"{self.world} lists {twice[0]!r} {counts[twice[0]]} times in split={self.split!r}: list each task once"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the tasks in their order, and of the facts; neither world nor split is named in it."""
        return digest_of([dict(self.facts), [asdict(task) for task in self.tasks]])

    @property
    def counts(self) -> dict[str, int]:
        """Tasks of each kind, in alphabetical order."""
        return dict(sorted(Counter(task.kind for task in self.tasks).items()))

    def manifest(self) -> dict[str, Any]:
        """The panel as plain JSON values, as `read_manifest` takes it."""
        return {
            "world": self.world,
            "split": self.split,
            "digest": self.digest,
            "facts": dict(self.facts),
            "tasks": [asdict(task) for task in self.tasks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a panel differs from another one."""

    added: tuple[str, ...]
    """Ids of the tasks that only the later one has."""

    lost: tuple[str, ...]
    """Ids of the tasks that only the earlier one has."""

    changed: tuple[str, ...]
    """Ids of the tasks that both have, under another digest or kind."""

    moved: tuple[str, ...]
    """Ids of the tasks that both have, whose place among these is another."""

    facts: Mapping[str, tuple[str | int | None, str | int | None]]
    """Name of a fact -> its earlier and later value; None where it was not told."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.added or self.lost or self.changed or self.moved or self.facts)

    def __str__(self) -> str:
        """Such as "2 added, 1 changed; products 1000 -> 400"."""
        counts = [
            f"{len(task_ids)} {name}"
            for name in ("added", "lost", "changed", "moved")
            if (task_ids := getattr(self, name))
        ]
        facts = [f"{name} {before} -> {now}" for name, (before, now) in self.facts.items()]
        return "; ".join(part for part in (", ".join(counts), *facts) if part) or "equal"


def panel_of(env: Env, *, world: str, split: str, task_ids: Iterable[str]) -> Panel:
    """The panel of these tasks. A world that does not define its tasks is known by their first observations, seed 0."""
    task_ids = tuple(task_ids)
    definitions = {task_id: _definition(env, task_id) for task_id in task_ids}
    return Panel(
        world=world,
        split=split,
        tasks=tuple(
            PanelTask(task_id=task_id, kind=env.kind(task_id), digest=digest_of(definitions[task_id].content))
            for task_id in task_ids
        ),
        facts=_shared([definition.facts for definition in definitions.values()]),
    )


def compare(before: Panel, now: Panel) -> Difference:
    """What has become of a panel."""
    old, new = ({task.task_id: task for task in panel.tasks} for panel in (before, now))
    order = [[task_id for task_id in tasks if task_id in others] for tasks, others in ((old, new), (new, old))]
    names = sorted(before.facts.keys() | now.facts.keys())
    return Difference(
        added=tuple(task_id for task_id in new if task_id not in old),
        lost=tuple(task_id for task_id in old if task_id not in new),
        changed=tuple(task_id for task_id in order[1] if old[task_id] != new[task_id]),
        moved=tuple(now_at for was_at, now_at in zip(*order, strict=True) if was_at != now_at),
        facts={
            name: (before.facts.get(name), now.facts.get(name))
            for name in names
            if before.facts.get(name) != now.facts.get(name)
        },
    )


def read_manifest(values: Any) -> Panel:
    """The panel of a manifest. Raises ValueError where it is none, or its digest is not that of its tasks."""
    try:
        tasks = tuple(PanelTask(**task) for task in values["tasks"])
        panel = Panel(world=values["world"], split=values["split"], tasks=tasks, facts=dict(values["facts"]))
        digest = values["digest"]
    except (TypeError, KeyError, ValueError, EnvError) as error:
        raise ValueError(f"it holds no manifest of a panel ({error!r})") from error
    if digest != panel.digest:
        raise ValueError(f"it states the digest {digest!r:.24}, and its tasks have {panel.digest:.16}")
    return panel


def digest_of(values: Any) -> str:
    """SHA-256 of plain JSON values, in hexadecimal digits; the order of a mapping's keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _definition(env: Env, task_id: str) -> Definition:
    if isinstance(env, Defining):
        return env.definition(task_id)
    first = env.reset(task_id, seed=0)
    env.close()
    return Definition(content={"observation": first.observation, "admissible": first.admissible})


def _shared(facts: Sequence[Mapping[str, str | int]]) -> dict[str, str | int]:
    """The facts of all tasks; the values of one that is not the same for all are listed."""
    values: dict[str, dict[str | int, None]] = {}
    for one in facts:
        for name, value in one.items():
            values.setdefault(name, {})[value] = None
    return {
        name: next(iter(distinct)) if len(distinct) == 1 else ", ".join(sorted(map(str, distinct)))
        for name, distinct in sorted(values.items())
    }
