"""A rollout that is not whole is refused at birth."""

import pytest

from rollout.types import Revision, RolloutGroup
from tests.fakes import completion, step, trajectory


def test_a_token_without_a_logprob_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens but 2 log-probs"):
        completion(tokens=[5, 6, 7], logprobs=[-0.5, -0.25])


def test_a_rollout_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="trajectory of '9' has no step"):
        trajectory(task_id="9")


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        ({"task_id": "3", "seed": 5, "sibling": 1}, "'3', seed 5, sibling 1"),
        ({"task_id": "2", "seed": 6, "sibling": 1}, "'2', seed 6, sibling 1"),
        ({"task_id": "2", "seed": 5, "sibling": 0}, "'2', seed 5, sibling 0"),
    ],
)
def test_a_rollout_of_another_group_is_refused(stranger: dict[str, object], named: str) -> None:
    first = trajectory(step(), task_id="2", seed=5, sibling=0)
    other = trajectory(step(), **stranger)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=rf"group \('2', seed 5\) got trajectory 1 of \({named}\)"):
        RolloutGroup(task_id="2", seed=5, trajectories=(first, other))


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        ({"task_id": "3", "seed": 5, "sibling": 0}, r"'3', seed 5, sibling 0"),
        ({"task_id": "2", "seed": 6, "sibling": 0}, r"'2', seed 6, sibling 0"),
        ({"task_id": "2", "seed": 5, "sibling": 1}, r"'2', seed 5, sibling 1"),  # a success
        ({"task_id": "2", "seed": 5, "sibling": 2}, r"'2', seed 5, sibling 2"),  # nobody
    ],
)
def test_a_group_refuses_a_revision_of_what_is_no_failure_of_its_own(stranger: dict[str, object], named: str) -> None:
    lost, won = (trajectory(step(), task_id="2", seed=5, sibling=number, won=number == 1) for number in (0, 1))
    other = Revision(trajectory=trajectory(step(), **stranger), reference=1, credit=0.5)  # pyright: ignore
    with pytest.raises(ValueError, match=rf"got a revision of \({named}\): revise its own failed rollouts, \[0\]"):
        RolloutGroup(task_id="2", seed=5, trajectories=(lost, won), revisions=(other,))
