"""Rates of several rollouts a task: unbiased pass@k, and intervals that know that they hang together."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.report.rate import Rate


def rate(*wins: int, samples: int) -> Rate:
    return Rate(wins=sum(wins), total=samples * len(wins), by_task=wins)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(1, n), st.lists(st.integers(0, n), min_size=1, max_size=4))
    )
)
def test_pass_at_k_is_the_mean_over_all_choices_of_k_rollouts(drawn: tuple[int, int, list[int]]) -> None:
    n, k, wins = drawn
    solved = [fmean(any(place < c for place in chosen) for chosen in combinations(range(n), k)) for c in wins]
    assert rate(*wins, samples=n).pass_at(k).value == pytest.approx(fmean(solved), abs=1e-12)


def test_pass_at_k_of_a_worked_example() -> None:
    # 1 - C(3, 2) / C(4, 2) = 1/2 for one win of four, 1 - C(2, 2) / C(4, 2) = 5/6 for two: their mean is 2/3.
    assert rate(1, 2, samples=4).pass_at(2).value == pytest.approx(2 / 3, abs=1e-15)


def test_pass_at_one_is_the_share_and_pass_at_all_the_share_of_tasks_that_were_solved_at_all() -> None:
    some = rate(0, 3, 4, 0, samples=4)
    assert (some.pass_at(1).value, some.share) == (7 / 16, 7 / 16)
    assert (some.pass_at(1).low, some.pass_at(1).high) == some.interval
    assert some.pass_at(4).value == 1 / 2
    assert some.ks == (1, 2, 4)
    assert rate(1, samples=6).ks == (1, 2, 4, 6)


@given(st.integers(1, 40).flatmap(lambda tasks: st.tuples(st.integers(0, tasks), st.just(tasks), st.integers(2, 5))))
def test_rollouts_that_always_end_as_the_first_of_their_task_tell_no_more_than_one_rollout(
    counts: tuple[int, int, int],
) -> None:
    wins, tasks, samples = counts
    alike = rate(*(samples * (task < wins) for task in range(tasks)), samples=samples)
    assert alike.interval == pytest.approx(Rate(wins=wins, total=tasks).interval, abs=1e-12)


def test_rollouts_that_end_alike_on_every_task_tell_as_much_as_those_of_different_tasks() -> None:
    assert rate(*[2] * 10, samples=4).interval == pytest.approx(Rate(wins=20, total=40).interval, abs=1e-12)


@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
def test_the_interval_holds_the_true_share_as_often_as_it_says_however_much_a_tasks_rollouts_hang_together(
    spread: float,
) -> None:
    """64 tasks with 8 rollouts each, 2000 times; the chances of the tasks are beta-distributed with mean 0.3."""
    generator, held, naively = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        chances = generator.beta(0.3 / spread, 0.7 / spread, 64) if spread else np.full(64, 0.3)
        some = rate(*generator.binomial(8, chances).tolist(), samples=8)
        low, high = some.interval
        held += low <= 0.3 <= high
        low, high = Rate(wins=some.wins, total=some.total).interval
        naively += low <= 0.3 <= high
    assert 0.93 <= held / 2000 <= 0.97
    assert naively / 2000 < 0.85 or spread == 0.0


@pytest.mark.parametrize("by_task", [(1, 1), (2, 2, 1), (3,), (5, 0)])
def test_wins_by_task_that_do_not_add_up_are_refused(by_task: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="each is played equally often"):
        Rate(wins=5, total=8, by_task=by_task)


@pytest.mark.parametrize("k", [0, 5])
def test_more_tries_than_there_are_rollouts_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"pass@{k} of 4 rollouts a task"):
        rate(1, 2, samples=4).pass_at(k)
