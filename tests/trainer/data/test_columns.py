"""The translator between rooms: equal things get equal codes, and tokens are the engine's own ids."""

from dataclasses import replace

import numpy as np
import pytest

from estimators import UNPARSED, Needs
from rollout.types import Revision, RolloutGroup, Step
from tests.fakes import completion, group, plain, step, trajectory
from trainer.data.columns import codes, live_rows, rollout_logprobs, step_batch, token_batch, token_mask
from trainer.data.rows import RowTable, with_step_rewards

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


def test_the_columns_of_an_estimator_copy_the_steps() -> None:
    batch = step_batch(RowTable(GROUPS), embedding=None)
    assert batch.group.tolist() == [0, 0, 0, 1, 1]
    assert batch.trajectory.tolist() == [0, 0, 1, 2, 2]
    assert batch.time.tolist() == [0, 1, 0, 0, 1]
    assert batch.reward.tolist() == [0.0, 10.0, 0.0, 0.0, 0.0]
    assert batch.invalid.tolist() == [False, False, True, False, True]
    assert (batch.embedding, batch.repair, batch.edited) == (None, None, None)


def test_milestones_are_a_column_where_every_step_tells_them() -> None:
    counted = group((step("go", milestone=0), step("go", milestone=1)), (step("go", milestone=0),))
    milestone = step_batch(RowTable([counted]), embedding=None).milestone
    assert plain(milestone) == plain(np.array([0, 1, 0]))
    assert step_batch(RowTable([counted, GROUPS[0]]), embedding=None).milestone is None


def test_step_rewards_are_a_column_where_a_scorer_filled_every_row() -> None:
    table = RowTable(with_step_rewards(GROUPS, np.array([0.5, 1.0, -1.0, 0.0, 2.0])))
    assert plain(step_batch(table, embedding=None).step_reward) == plain(np.array([0.5, 1.0, -1.0, 0.0, 2.0]))
    assert step_batch(RowTable([table.groups[0], GROUPS[1]]), embedding=None).step_reward is None


def test_a_switch_is_read_from_the_answer_where_sub_goals_are_asked_for() -> None:
    says = lambda *words: [step("go", said=completion(f"<subgoal>{word}</subgoal>")) for word in words]  # noqa: E731
    table = RowTable([group(says("a", "b"), says("a"))])
    asks = Needs(columns=frozenset({"switch"}))
    assert plain(step_batch(table, asks, embedding=None).switch) == plain(np.array([True, False, True]))
    assert step_batch(table, embedding=None).switch is None


def test_state_codes_are_equal_for_equal_states_of_one_group_only() -> None:
    # Group a: states 0, 1, 0; group b: 0, 0. The 0 of b is another world's.
    assert step_batch(RowTable(GROUPS), embedding=None).state.tolist() == [0, 1, 0, 2, 2]


@pytest.mark.parametrize("wants", [Needs(), Needs(columns=frozenset({"similar"}), similarity=0.5)])
def test_a_state_from_which_an_idle_turn_ends_the_rollout_is_another_one(wants: Needs) -> None:
    idle = (step(valid=False), step(valid=False, idle_turns=1), step(idle_turns=2))
    batch = step_batch(RowTable([group(idle, idle)]), wants, embedding=None)
    states = batch.state if batch.similar is None else batch.similar
    assert states.tolist() == [0, 1, 2] * 2


def test_equal_actions_share_a_code_and_unparsed_responses_get_unparsed() -> None:
    # go, stop, (unparsed fly), go, (unparsed fly). The estimators' contract has one code for "no action", and BiPACE's
    # parse_rate counts it.
    assert step_batch(RowTable(GROUPS), embedding=None).action.tolist() == [0, 1, UNPARSED, 0, UNPARSED]


def test_first_token_keys_are_the_first_eight_response_tokens() -> None:
    def responding(*tokens: int) -> tuple[Step]:
        return (step("go", said=completion(tokens=tokens)),)

    eight = (1, 2, 3, 4, 5, 6, 7, 8)
    pair = group(responding(*eight, 9), responding(*eight, 10), responding(*eight[:7]), responding(*eight[:7], 9))
    assert step_batch(RowTable([pair]), Needs(action_key="first_token"), embedding=None).action.tolist() == [0, 0, 1, 2]


def test_unparsed_responses_have_first_token_keys_too() -> None:
    # 2606.25556: the key is read from the tokens, parsed or not.
    pair = group((step("a", valid=False),), (step("b", valid=False),))
    assert step_batch(RowTable([pair]), Needs(action_key="first_token"), embedding=None).action.tolist() == [0, 0]


def test_embeddings_are_passed_on_in_row_order() -> None:
    vectors = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
    assert plain(step_batch(RowTable(GROUPS), embedding=vectors).embedding) == plain(vectors)


def revision(*steps: Step, task_id: str, sibling: int) -> Revision:
    return Revision(trajectory=trajectory(*steps, task_id=task_id, sibling=sibling, won=True), reference=0, credit=0.5)


def revised() -> tuple[RolloutGroup, RolloutGroup]:
    """`GROUPS` after a revision phase: the second rollout is repaired once, in one turn, the third twice, in two."""
    first, second = GROUPS
    one_turn = revision(step("go", said=completion(tokens=[8, 7])), task_id="a", sibling=1)
    two_turns = revision(step("go"), step("stop"), task_id="b", sibling=0)
    second = group(THIRD, FIRST, task_id="b", won=[False, True])
    return replace(first, revisions=(one_turn,)), replace(second, revisions=(two_turns, two_turns))


def test_revisions_give_every_row_the_repair_score_of_its_rollout_and_whether_it_was_edited() -> None:
    batch = step_batch(RowTable(revised()), embedding=None)
    assert batch.repair is not None
    assert batch.edited is not None
    # Rollouts of 2, 1, 2 and 2 rows. The only row of the second has token 7 where its revision has 8 7: an insertion
    # marks the token it stands before. The revisions of the third keep "go" and replace the unparsed second action.
    assert batch.repair.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]
    assert batch.edited.tolist() == [False, False, True, False, True, False, False]


def test_only_the_edited_tokens_of_an_edited_row_may_be_learned_from() -> None:
    long = step("7", said=completion("7", tokens=[5, 7, 9]))
    mended = revision(step("8", said=completion("8", tokens=[5, 8, 9])), task_id="a", sibling=1)
    whole = replace(group(FIRST, [long], task_id="a", won=[True]), revisions=(mended,))
    assert plain(token_mask(RowTable([whole]))) == plain(np.array([True, True, True, False, True, False]))
    # With several turns, all tokens of an edited row are edited; leaving out unedited rows is the estimator's business.
    mask = token_mask(RowTable(revised()))
    assert mask is not None
    assert mask.all()
    assert len(mask) == token_batch(RowTable(revised())).num_response_tokens


def test_without_a_revision_phase_in_every_group_the_columns_of_revisions_are_none() -> None:
    half = (replace(GROUPS[0], revisions=()), GROUPS[1])
    batch = step_batch(RowTable(half), embedding=None)
    assert (batch.repair, batch.edited, token_mask(RowTable(half))) == (None, None, None)
    without = [replace(each, revisions=()) for each in GROUPS]
    batch = step_batch(RowTable(without), embedding=None)
    assert plain(batch.repair) == plain(np.zeros(5))
    assert plain(batch.edited) == plain(np.zeros(5, np.bool_))


def test_token_ids_are_the_engines_own_row_by_row() -> None:
    batch = token_batch(RowTable(GROUPS))
    assert [batch.prompt(row).tolist() for row in range(5)] == [[1, 2], [1, 2, 5, 9, 3], [1, 2], [4], [4, 4]]
    assert [batch.response(row).tolist() for row in range(5)] == [[5, 9], [6], [7], [5, 9], [7]]
    assert batch.trajectory.tolist() == [0, 0, 1, 2, 2]
    assert batch.time.tolist() == [0, 1, 0, 0, 1]
    assert batch.tokens.dtype == np.int32


def test_the_engines_logprobs_are_listed_token_by_token_in_row_order() -> None:
    logprobs = rollout_logprobs(RowTable(GROUPS))
    assert logprobs.tolist() == [-0.5, -0.25, -1.0, -2.0, -0.125, -4.0, -8.0]
    assert logprobs.dtype == np.float32
    assert len(logprobs) == token_batch(RowTable(GROUPS)).num_response_tokens


def test_codes_number_keys_by_first_appearance() -> None:
    assert codes(["b", "a", "b", 1, ("a",)]).tolist() == [0, 1, 0, 2, 3]


def test_a_truncated_row_is_left_out_of_the_loss_only_if_so_set() -> None:
    cut = step("go", state="1", said=completion("go", finish_reason="length"))
    table = RowTable([group((step("go"), cut, step("go", state="2")))])
    assert live_rows(table, None, truncated="keep").tolist() == [True, True, True]
    assert live_rows(table, None, truncated="mask").tolist() == [True, False, True]
    assert live_rows(table, np.array([False, True, True]), truncated="mask").tolist() == [False, False, True]
