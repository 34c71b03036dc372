"""The tasks of an update: a function of the run's seed and the update's number alone, so a resumed run agrees."""

import random
from collections.abc import Sequence
from functools import lru_cache

from rollout.seeds import derive_seed
from rollout.types import Task


def training_tasks(task_ids: Sequence[str], *, seed: int, update: int, groups: int) -> list[Task]:
    """The `groups` tasks of update number `update`, from 0. Every epoch is one permutation of all tasks."""
    places = [divmod(place, len(task_ids)) for place in range(update * groups, (update + 1) * groups)]
    orders = {epoch: _permutation(len(task_ids), derive_seed(seed, "epoch", epoch)) for epoch, _ in places}
    return numbered([task_ids[orders[epoch][index]] for epoch, index in places], seed=seed, update=update)


def spare_tasks(task_ids: Sequence[str], *, seed: int, update: int, groups: int, count: int) -> list[Task]:
    """`count` further tasks for update number `update`, numbered from `groups`: other ones as long as there are."""
    taken = {task.task_id for task in training_tasks(task_ids, seed=seed, update=update, groups=groups)}
    others = [task_id for task_id in task_ids if task_id not in taken] or task_ids
    order = _permutation(len(others), derive_seed(seed, "spares", update))
    picks = [others[order[place % len(order)]] for place in range(count)]
    return numbered(picks, seed=seed, update=update, first=groups)


def numbered(task_ids: Sequence[str], *, seed: int, update: int, first: int = 0) -> list[Task]:
    """The tasks of an update in order, numbered from `first`, each with a world of its own."""
    return [
        Task(number=number, task_id=task_id, seed=derive_seed(seed, "world", update, number))
        for number, task_id in enumerate(task_ids, start=first)
    ]


def validation_tasks(task_ids: Sequence[str], *, count: int) -> list[Task]:
    """`count` distinct tasks spread evenly over the split, or all if it has fewer. Every run gets the same ones."""
    return [
        Task(number=number, task_id=task_id, seed=derive_seed("validation", task_id))
        for number, task_id in enumerate(spread(task_ids, count))
    ]


def spread(task_ids: Sequence[str], count: int) -> list[str]:
    """`count` task ids at even distances, in their order; all of them if there are fewer.

    >>> spread("abcdef", 3), spread("ab", 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    chosen = min(count, len(task_ids))
    return [task_ids[index * len(task_ids) // chosen] for index in range(chosen)]


@lru_cache(maxsize=4)  # millions of goals take seconds, and an epoch of them all updates of a run
def _permutation(count: int, seed: int) -> Sequence[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
