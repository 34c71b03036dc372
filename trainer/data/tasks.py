"""Which tasks an update trains on: a pure function of the run's seed and the update's number, so a resume agrees."""

import random
from collections.abc import Sequence

from rollout.seeds import derive_seed
from rollout.types import Task


def training_tasks(task_ids: Sequence[str], *, seed: int, update: int, groups: int) -> list[Task]:
    """The `groups` tasks of one update. Every epoch is one permutation of all tasks; none repeats before its end."""
    first = update * groups
    tasks: list[Task] = []
    for number, place in enumerate(range(first, first + groups)):
        epoch, index = divmod(place, len(task_ids))
        task_id = _permutation(task_ids, derive_seed(seed, "epoch", epoch))[index]
        tasks.append(Task(number=number, task_id=task_id, seed=derive_seed(seed, "world", update, number)))
    return tasks


def validation_tasks(task_ids: Sequence[str], *, count: int) -> list[Task]:
    """`count` distinct tasks, spread evenly over the split, the whole split if it has fewer; the same for every run."""
    return [
        Task(number=number, task_id=task_id, seed=derive_seed("validation", task_id))
        for number, task_id in enumerate(spread(task_ids, count))
    ]


def spread(task_ids: Sequence[str], count: int) -> list[str]:
    """`count` of them at even distances, in their order; all of them where there are fewer.

    >>> spread("abcdef", 3), spread("ab", 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    chosen = min(count, len(task_ids))
    return [task_ids[index * len(task_ids) // chosen] for index in range(chosen)]


def _permutation(task_ids: Sequence[str], seed: int) -> list[str]:
    order = list(task_ids)
    random.Random(seed).shuffle(order)
    return order
