"""Tasks that are solved about half the time are drawn more often, and every task stays in reach."""

from collections import Counter

import pytest

from rollout.seeds import derive_seed
from tests.fakes import group, step
from trainer.data.difficulty import Difficulty

TASKS = tuple(f"t{number}" for number in range(6))
SEEN = Difficulty({"t0": (0.0, 8.0), "t1": (8.0, 8.0), "t2": (4.0, 8.0), "t3": (4.0, 8.0)})


def drawn(difficulty: Difficulty, count: int, updates: int) -> Counter[str]:
    return Counter(
        task.task_id
        for update in range(updates)
        for task in difficulty.tasks(TASKS, seed=0, update=update, count=count)
    )


def test_the_share_of_a_task_is_that_of_its_weight() -> None:
    updates, weights = 4000, [SEEN.weight(task_id) for task_id in TASKS]
    assert weights == pytest.approx([0.09, 0.09, 0.25, 0.25, 0.25, 0.25])
    counts = drawn(SEEN, 1, updates)
    for task_id, weight in zip(TASKS, weights, strict=True):
        share = weight / sum(weights)
        assert counts[task_id] / updates == pytest.approx(share, abs=4 * (share * (1 - share) / updates) ** 0.5)


def test_no_task_comes_twice_before_every_task_came_once() -> None:
    order = [task.task_id for task in SEEN.tasks(TASKS, seed=0, update=3, count=9)]
    assert sorted(order[:6]) == sorted(TASKS)
    assert order[6:] == order[:3]


def test_tasks_have_their_places_and_worlds_of_their_own() -> None:
    tasks = SEEN.tasks(TASKS, seed=4, update=2, count=9)
    assert [task.number for task in tasks] == list(range(9))
    assert [task.seed for task in tasks] == [derive_seed(4, "world", 2, number) for number in range(9)]


def test_what_was_seen_long_ago_fades() -> None:
    lost = group([step()], [step()], task_id="t0", won=(False, False))
    won = group([step()], [step()], task_id="t0", won=(True, True))
    assert Difficulty().after([lost]).seen == {"t0": (0.0, 2.0)}
    assert Difficulty().after([lost]).after([won]).seen == {"t0": (2.0, 3.0)}
    assert Difficulty().after([won, lost]).seen == {"t0": (1.0, 3.0)}


def test_what_was_seen_is_not_changed_in_place() -> None:
    before = Difficulty({"t0": (1.0, 2.0)})
    before.after([group([step()], task_id="t0")])
    assert before.seen == {"t0": (1.0, 2.0)}
