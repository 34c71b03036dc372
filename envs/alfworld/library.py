"""Where games come from: an interface, and the folder in the official layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from envs.alfworld.game import load_record
from envs.alfworld.index import GAME_FILE, Index, open_index, release_folder
from envs.base import EnvError


class Library(Protocol):
    """Games by task id, immutable and shared."""

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of a split, in a fixed order; empty for a split it does not have."""
        ...

    def task_type(self, task_id: str) -> str:
        """One of the six task types. Raises EnvError for an unknown task id."""
        ...

    def record(self, task_id: str) -> Mapping[str, Any]:
        """The contents of the game's file. Raises EnvError for an unknown task id and for a broken file."""
        ...

    def source(self, task_id: str) -> str:
        """What error messages call the game: its file, or its task id if it has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder in the official layout: split/task folder/trial folder/game.tw-pddl."""

    path: Path
    """The folder that holds the splits."""

    index: Index
    """Its playable games."""

    def tasks(self, split: str) -> Sequence[str]:
        return self.index.split(split)

    def task_type(self, task_id: str) -> str:
        if task_id not in self.index.entries:
            raise EnvError(f"{self.path} has no game {task_id!r}; take a task id from tasks(split)")
        return self.index.entries[task_id].task_type

    def record(self, task_id: str) -> Mapping[str, Any]:
        self.task_type(task_id)
        return load_record(Path(self.source(task_id)))

    def source(self, task_id: str) -> str:
        return str(self.path / task_id / GAME_FILE)


def open_folder(data: Path) -> Folder:
    """The games of a folder that contains json_2.1.1. Raises EnvError if it has none, and for broken games."""
    path = release_folder(data)
    return Folder(path=path, index=open_index(path))
