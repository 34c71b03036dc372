"""examples/one_update.py shows credit per turn, and its policy learns."""

from collections.abc import Callable


def test_the_policy_learns_the_corridor_within_ten_updates(example: Callable[..., list[str]]) -> None:
    solved = [int(line.split()[2]) for line in example("one_update.py") if line.startswith("update")]
    assert len(solved) == 11
    assert solved[0] < 5
    assert solved[-3:] == [8, 8, 8]


def test_turns_of_one_rollout_get_different_credit(example: Callable[..., list[str]]) -> None:
    rows = [line.split() for line in example("one_update.py") if line[:7].strip().isdigit()]
    credit = {rollout: {row[4] for row in rows if row[0] == rollout} for rollout, *_ in rows}
    assert len(credit) == 8
    assert any(len(values) > 1 for values in credit.values())
