"""How worlds of single problems are split: by the digests of their texts, or by a file of its own; and by depth."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from envs.base import EnvError

SPLITS = ("train", "validation")
_HELD_OUT = 10  # one problem of a file in ten validates
_VALIDATION_SHARE = 5  # one generated problem in five validates


class Graded(Protocol):
    """A problem that may have a depth."""

    @property
    def depth(self) -> int | None:
        """The number of its steps; None where it is not known."""
        ...


P = TypeVar("P")


def is_held_out(text: str) -> bool:
    """Whether a generated problem belongs to validation. text: what it is, whatever the seed that drew it."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _VALIDATION_SHARE == 0


def read_splits(
    read: Callable[[Path], Mapping[str, tuple[int, P]]], path: Path, held_out: Path | None
) -> tuple[dict[str, P], dict[str, P]]:
    """Problems for training and for validation, by task id, which is the digest of a problem's text.

    read: the problems of a file with their line numbers. Validation is the file `held_out`, or the tenth of `path` with
    the smallest digests, so that it does not depend on the order of the lines. Raises EnvError for a problem that is in
    both files.
    """
    train = read(path)
    if held_out is None:
        chosen = set(sorted(train)[: -(-len(train) // _HELD_OUT)])
        validation = {task_id: entry for task_id, entry in train.items() if task_id in chosen}
        train = {task_id: entry for task_id, entry in train.items() if task_id not in chosen}
    else:
        validation = read(held_out)
        for task_id, (line, _) in validation.items():
            if task_id in train:
                raise EnvError(
                    f"{held_out} line {line}: {path} line {train[task_id][0]} asks the same; take one of them out"
                )
    first, second = ({task_id: problem for task_id, (_, problem) in part.items()} for part in (train, validation))
    return first, second


def splits_of(train: Mapping[str, Graded], validation: Mapping[str, Graded]) -> dict[str, tuple[str, ...]]:
    """Task ids of train and validation, and of train_depthN and validation_depthN where there are any."""
    assert not train.keys() & validation.keys()
    sets = dict(zip(SPLITS, (train, validation), strict=True))
    splits = {name: tuple(problems) for name, problems in sets.items()}
    depths = {problem.depth for problems in sets.values() for problem in problems.values()} - {None}
    for depth in sorted(depth for depth in depths if depth is not None):
        for name, problems in sets.items():
            if ids := tuple(task_id for task_id, problem in problems.items() if problem.depth == depth):
                splits[f"{name}_depth{depth}"] = ids
    return splits
