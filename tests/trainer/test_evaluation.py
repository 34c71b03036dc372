"""Success rates with Wilson's interval, overall and by kind of task; every task counts once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.types import RolloutGroup
from tests.fakes import Corridor, group, step
from trainer.evaluation import evaluation
from trainer.report.rate import Rate

GROUPS = (
    group((step("go"), step("go")), task_id="1", won=[True]),
    group((step("go"), step("fly", valid=False), step("go"), step("go")), task_id="2"),
    group((step("go"), step("go")), task_id="3", won=[True]),
)


def wilson(wins: int, total: int) -> tuple[float, float]:
    """Wilson 1927, with the normal's 97.5 % quantile."""
    z = 1.959963984540054
    share = wins / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return center - half, center + half


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons_formula(counts: tuple[int, int]) -> None:
    wins, total = counts
    assert Rate(wins=wins, total=total).interval == pytest.approx(wilson(wins, total), abs=1e-12)


@pytest.mark.parametrize(
    ("wins", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],  # Newcombe 1998, table I, method 3
)
def test_the_interval_equals_published_examples(wins: int, total: int, low: float, high: float) -> None:
    assert Rate(wins=wins, total=total).interval == pytest.approx((low, high), abs=5e-5)


def test_a_rate_shows_its_interval_and_its_counts() -> None:
    assert str(Rate(wins=81, total=263)) == "30.8 % [25.5, 36.6] (81/263)"


@pytest.mark.parametrize(("wins", "total"), [(0, 0), (2, 1), (-1, 3)])
def test_a_rate_of_nothing_is_refused(wins: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{wins} wins of {total}"):
        Rate(wins=wins, total=total)


def test_an_evaluation_averages_over_rollouts_and_over_steps() -> None:
    held_out = evaluation(GROUPS, Corridor().kind)
    assert held_out.overall == Rate(wins=2, total=3)
    assert held_out.by_kind == {"even": Rate(wins=0, total=1), "odd": Rate(wins=2, total=2)}
    assert list(held_out.by_kind) == ["even", "odd"]
    assert held_out.mean_score == 2 / 3
    assert held_out.mean_steps == 8 / 3
    assert held_out.invalid_share == 1 / 8
    assert held_out.trajectories == tuple(rollout for each in GROUPS for rollout in each.trajectories)


def test_the_kinds_add_up_to_the_whole() -> None:
    held_out = evaluation(GROUPS, lambda task_id: task_id)
    assert sum(rate.wins for rate in held_out.by_kind.values()) == held_out.overall.wins
    assert sum(rate.total for rate in held_out.by_kind.values()) == held_out.overall.total


@pytest.mark.parametrize("groups", [(), (RolloutGroup(task_id="1", seed=0, trajectories=()),)])
def test_an_evaluation_of_nothing_is_refused(groups: tuple[RolloutGroup, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluation(groups, str)
