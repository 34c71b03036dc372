"""The tasks of an update: whole epochs, decided by the seed and the update's number alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.types import Task
from trainer.data.tasks import spare_tasks, training_tasks, validation_tasks

TASKS = tuple(f"t{number}" for number in range(7))


def task_order(*, seed: int, updates: int, groups: int, tasks: tuple[str, ...] = TASKS) -> list[str]:
    return [
        task.task_id
        for update in range(updates)
        for task in training_tasks(tasks, seed=seed, update=update, groups=groups)
    ]


@given(seed=st.integers(0, 1000), groups=st.integers(1, 20), number=st.integers(1, 12))
def test_every_epoch_plays_every_task_once(seed: int, groups: int, number: int) -> None:
    tasks = TASKS[: 1 + number % 7]
    order = task_order(seed=seed, updates=number, groups=groups, tasks=tasks)
    epochs = [order[start : start + len(tasks)] for start in range(0, len(order), len(tasks))]
    assert all(sorted(epoch) == sorted(tasks) for epoch in epochs[:-1])
    assert len(set(epochs[-1])) == len(epochs[-1])


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    first, second, third = (tuple(task_order(seed=0, updates=3, groups=7)[start : start + 7]) for start in (0, 7, 14))
    assert len({first, second, third, tuple(task_order(seed=1, updates=1, groups=7))}) == 4


def test_the_tasks_of_an_update_do_not_depend_on_earlier_updates() -> None:
    # Fixed values: a run that is resumed in another process, on another day, must play the same tasks.
    assert training_tasks(TASKS, seed=3, update=2, groups=2) == [
        Task(number=0, task_id="t5", seed=183674360),
        Task(number=1, task_id="t0", seed=1688600713),
    ]


@given(groups=st.integers(1, 9), update=st.integers(0, 5), count=st.integers(0, 20))
def test_spare_tasks_go_on_from_an_updates_own_with_other_tasks_first(groups: int, update: int, count: int) -> None:
    own = training_tasks(TASKS, seed=0, update=update, groups=groups)
    spares = spare_tasks(TASKS, seed=0, update=update, groups=groups, count=count)
    assert [task.number for task in (*own, *spares)] == list(range(groups + count))
    assert len({task.seed for task in (*own, *spares)}) == groups + count
    others = set(TASKS) - {task.task_id for task in own} or set(TASKS)
    assert {task.task_id for task in spares[: len(others)]} <= others
    assert len({task.task_id for task in spares[: len(others)]}) == min(count, len(others))


@given(groups=st.integers(1, 30), update=st.integers(0, 5))
def test_a_task_played_twice_has_two_worlds(groups: int, update: int) -> None:
    tasks = training_tasks(TASKS, seed=0, update=update, groups=groups)
    later = training_tasks(TASKS, seed=0, update=update + 1, groups=groups)
    assert len({task.seed for task in [*tasks, *later]}) == 2 * groups
    assert [task.number for task in tasks] == list(range(groups))


@pytest.mark.parametrize(
    ("count", "picked"),
    [
        (1, ["t0"]),
        (2, ["t0", "t3"]),  # 0 * 7 // 2, 1 * 7 // 2
        (3, ["t0", "t2", "t4"]),  # 0, 7 // 3, 14 // 3
        (7, list(TASKS)),
        (100, list(TASKS)),
    ],
)
def test_validation_tasks_are_spread_over_the_split(count: int, picked: list[str]) -> None:
    assert [task.task_id for task in validation_tasks(TASKS, count=count)] == picked


@given(size=st.integers(1, 50), count=st.integers(1, 60))
def test_validation_tasks_are_distinct(size: int, count: int) -> None:
    tasks = validation_tasks([f"v{number}" for number in range(size)], count=count)
    assert len({task.task_id for task in tasks}) == len(tasks) == min(size, count)


def test_a_validation_task_has_the_same_world_however_many_are_asked_for() -> None:
    few = {task.task_id: task.seed for task in validation_tasks(TASKS, count=2)}
    many = {task.task_id: task.seed for task in validation_tasks(TASKS, count=7)}
    assert few == {task_id: many[task_id] for task_id in few}
