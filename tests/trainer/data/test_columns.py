"""The translator between rooms: one row order, codes that mean equality, and the engine's own token ids."""

from dataclasses import replace

import numpy as np
import pytest

from estimators import UNPARSED
from rollout.types import Revision, RolloutGroup, Step
from tests.fakes import completion, group, plain, step, trajectory
from trainer.data.columns import codes, rollout_logprobs, rows, step_batch, token_batch, token_mask, trajectories

# Two groups. The first: two rollouts of 2 and 1 steps, the second: one rollout of 2 steps.
FIRST = (
    step("go", state="0", said=completion("go", prompt=[1, 2], tokens=[5, 9], logprobs=[-0.5, -0.25])),
    step("stop", state="1", reward=10.0, said=completion("stop", prompt=[1, 2, 5, 9, 3], tokens=[6], logprobs=[-1.0])),
)
SECOND = (step("fly", state="0", valid=False, said=completion("fly", prompt=[1, 2], tokens=[7], logprobs=[-2.0])),)
THIRD = (
    step("go", state="0", said=completion("go", prompt=[4], tokens=[5, 9], logprobs=[-0.125, -4.0])),
    step("fly", state="0", valid=False, said=completion("fly", prompt=[4, 4], tokens=[7], logprobs=[-8.0])),
)
GROUPS = (group(FIRST, SECOND, task_id="a", won=[True]), group(THIRD, task_id="b"))


def test_rows_go_by_group_then_sibling_then_time() -> None:
    assert [(place, trajectory, time) for place, trajectory, time, _ in rows(GROUPS)] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (1, 2, 0),
        (1, 2, 1),
    ]
    assert [found for *_, found in rows(GROUPS)] == [*FIRST, *SECOND, *THIRD]


def test_an_estimators_columns_say_what_happened() -> None:
    batch = step_batch(GROUPS, embedding=None)
    assert batch.group.tolist() == [0, 0, 0, 1, 1]
    assert batch.trajectory.tolist() == [0, 0, 1, 2, 2]
    assert batch.time.tolist() == [0, 1, 0, 0, 1]
    assert batch.reward.tolist() == [0.0, 10.0, 0.0, 0.0, 0.0]
    assert batch.invalid.tolist() == [False, False, True, False, True]
    assert (batch.embedding, batch.repair, batch.edited) == (None, None, None)


def test_state_codes_are_equal_for_equal_states_of_one_group_only() -> None:
    # Group a: states 0, 1, 0; group b: 0, 0. The 0 of b is another world's.
    assert step_batch(GROUPS, embedding=None).state.tolist() == [0, 1, 0, 2, 2]


def test_equal_actions_share_a_code_and_unparsed_ones_have_none() -> None:
    # go, stop, (unparsed fly), go, (unparsed fly): the estimators' contract knows "no action" by its own code, and
    # BiPACE's parse_rate counts it.
    found = step_batch(GROUPS, embedding=None).action
    assert found.tolist() == [0, 1, UNPARSED, 0, UNPARSED]


def test_first_token_keys_are_the_first_eight_response_tokens() -> None:
    def saying(*tokens: int) -> tuple[Step]:
        return (step("go", said=completion(tokens=tokens)),)

    eight = (1, 2, 3, 4, 5, 6, 7, 8)
    pair = group(saying(*eight, 9), saying(*eight, 10), saying(*eight[:7]), saying(*eight[:7], 9))
    assert step_batch([pair], embedding=None, action_key="first_token").action.tolist() == [0, 0, 1, 2]


def test_first_token_keys_count_for_unparsed_responses_too() -> None:
    # 2606.25556: the key is read from the tokens, parsed or not.
    pair = group((step("a", valid=False),), (step("b", valid=False),))
    assert step_batch([pair], embedding=None, action_key="first_token").action.tolist() == [0, 0]


def test_embeddings_go_through_in_row_order() -> None:
    vectors = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
    assert plain(step_batch(GROUPS, embedding=vectors).embedding) == plain(vectors)


def revision(*steps: Step, task_id: str, sibling: int) -> Revision:
    return Revision(trajectory=trajectory(*steps, task_id=task_id, sibling=sibling, won=True), reference=0, credit=0.5)


def revised() -> tuple[RolloutGroup, RolloutGroup]:
    """`GROUPS` after a revision phase: the second rollout mended in one turn, the third twice in two."""
    first, second = GROUPS
    one_turn = revision(step("go", said=completion(tokens=[8, 7])), task_id="a", sibling=1)
    two_turns = revision(step("go"), step("stop"), task_id="b", sibling=0)
    second = group(THIRD, FIRST, task_id="b", won=[False, True])
    return replace(first, revisions=(one_turn,)), replace(second, revisions=(two_turns, two_turns))


def test_revisions_give_every_row_its_rollouts_s_and_whether_it_was_changed() -> None:
    batch = step_batch(revised(), embedding=None)
    assert batch.repair is not None
    assert batch.edited is not None
    # Rollouts of 2, 1, 2 and 2 rows. The second's only row says 7 where its revision says 8 7, so 8 was due there. Of
    # the third the revisions keep go and replace the unparsed second action.
    assert batch.repair.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]
    assert batch.edited.tolist() == [False, False, True, False, True, False, False]


def test_of_an_edited_row_only_the_edited_tokens_may_be_learned_from() -> None:
    long = step("7", said=completion("7", tokens=[5, 7, 9]))
    mended = revision(step("8", said=completion("8", tokens=[5, 8, 9])), task_id="a", sibling=1)
    whole = replace(group(FIRST, [long], task_id="a", won=[True]), revisions=(mended,))
    assert plain(token_mask([whole])) == plain(np.array([True, True, True, False, True, False]))
    # Many turns: an edited row's tokens all are, and a row that is not edited is the estimator's to leave out.
    mask = token_mask(revised())
    assert mask is not None
    assert mask.all()
    assert len(mask) == token_batch(revised()).num_response_tokens


def test_without_a_revision_phase_in_every_group_there_is_no_column_of_it() -> None:
    half = (replace(GROUPS[0], revisions=()), GROUPS[1])
    batch = step_batch(half, embedding=None)
    assert (batch.repair, batch.edited, token_mask(half)) == (None, None, None)
    through = [replace(one, revisions=()) for one in GROUPS]
    batch = step_batch(through, embedding=None)
    assert plain(batch.repair) == plain(np.zeros(5))
    assert plain(batch.edited) == plain(np.zeros(5, np.bool_))


def test_tokens_are_the_engines_own_row_by_row() -> None:
    batch = token_batch(GROUPS)
    assert [batch.prompt(row).tolist() for row in range(5)] == [[1, 2], [1, 2, 5, 9, 3], [1, 2], [4], [4, 4]]
    assert [batch.response(row).tolist() for row in range(5)] == [[5, 9], [6], [7], [5, 9], [7]]
    assert batch.trajectory.tolist() == [0, 0, 1, 2, 2]
    assert batch.time.tolist() == [0, 1, 0, 0, 1]
    assert batch.tokens.dtype == np.int32


def test_the_engines_logprobs_stand_token_by_token_in_row_order() -> None:
    found = rollout_logprobs(GROUPS)
    assert found.tolist() == [-0.5, -0.25, -1.0, -2.0, -0.125, -4.0, -8.0]
    assert found.dtype == np.float32
    assert len(found) == token_batch(GROUPS).num_response_tokens


def test_trajectories_come_in_row_order() -> None:
    assert [(one.task_id, one.sibling) for one in trajectories(GROUPS)] == [("a", 0), ("a", 1), ("b", 0)]


def test_codes_number_keys_by_first_appearance() -> None:
    assert codes(["b", "a", "b", 1, ("a",)]).tolist() == [0, 1, 0, 2, 3]


@pytest.mark.parametrize("groups", [(), (RolloutGroup(task_id="a", seed=0, trajectories=()),)])
def test_a_batch_without_rollouts_is_refused(groups: tuple[RolloutGroup, ...]) -> None:
    with pytest.raises(ValueError, match="every group was dropped"):
        token_batch(groups)
