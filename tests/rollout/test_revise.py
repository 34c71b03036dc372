"""The revision phase: which siblings are shown, the prompt, what a revision repairs, and which tokens it blames."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from envs import WORLDS
from envs.arithmetic import Arithmetic
from envs.textcraft import TextCraft
from rollout.collect import Collector, RolloutConfig
from rollout.policy import EnginePolicy, Key
from rollout.revise import ReviseConfig, Revised, changed, edits, references, repairs, revise
from rollout.seeds import derive_seed
from rollout.types import Revision, RolloutGroup, Step, Task
from rollout.waves import WavePolicy
from tests.fakes import (
    CharCodec,
    LocalPool,
    ScriptedEngine,
    ScriptedPolicy,
    completion,
    failing,
    group,
    plain,
    play_options,
    step,
    trajectory,
)

PROMPT = "{task}|{attempt}|{outcome}|{reference}"
CONFIG = ReviseConfig(prompt=PROMPT)
SPOON = Task(number=0, task_id="minecraft:zinc_spoon", seed=7)
PLATE, ROD = "craft 1 zinc plate using 3 zinc", "craft 1 zinc rod using 2 zinc"
FINISH = "craft 1 zinc spoon using 1 zinc plate, 1 zinc rod"
GOOD, SCARCE, LOST = ["get 5 zinc", PLATE, ROD, FINISH], ["get 4 zinc", PLATE, ROD, FINISH], ["fly"] * 4
LIMIT = 4  # actions, so that the first mistake costs the game

Plans = dict[Key, list[str]]  # the answers of rollout (task, sibling), or of revision (task, sibling, reference)
# The first rollout is mended beside the second, which succeeded, and not beside the third; the third is beyond help.
MIXED: Plans = {(0, 0): SCARCE, (0, 1): GOOD, (0, 2): LOST, (0, 0, 1): GOOD}
FAILED: Plans = {(0, 0): SCARCE, (0, 1): LOST, (0, 0, 1): GOOD}


def saying(plans: Plans) -> Callable[[Key], str]:
    return lambda key: plans.get(key[:-1], LOST)[key[-1]]


def collector(plans: Plans, *, pool: LocalPool | None = None, prompt_tokens: int = 10_000) -> Collector:
    return Collector(
        policy=ScriptedPolicy(saying(plans), prompt_tokens=prompt_tokens),
        pool=pool or LocalPool(lambda: TextCraft(max_steps=LIMIT)),  # pyright: ignore[reportArgumentType]
        prompter=WORLDS["textcraft"].prompter("bare"),
        config=RolloutConfig(history=LIMIT),
    )


def policy_of(playing: Collector) -> ScriptedPolicy:
    assert isinstance(playing.policy, ScriptedPolicy)
    return playing.policy


def rolled_out(playing: Collector, siblings: int) -> tuple[RolloutGroup, ...]:
    collecting = playing.collect([SPOON], group_size=siblings, options=play_options(seed=1))
    groups = asyncio.run(collecting).groups
    policy_of(playing).asked.clear()
    return groups


def revised(playing: Collector, groups: Sequence[RolloutGroup], config: ReviseConfig = CONFIG) -> Revised:
    return asyncio.run(revise(playing, groups, config=config, options=play_options(seed=2)))


def mixed(config: ReviseConfig = CONFIG) -> tuple[Collector, Revised]:
    playing = collector(MIXED)
    return playing, revised(playing, rolled_out(playing, 3), config)


# --- who is revised, and what the policy is asked -----------------------------------------------------------------


def test_every_failure_is_revised_beside_its_siblings_a_success_first() -> None:
    playing, result = mixed()
    assert list(dict.fromkeys(request.key[:-1] for request in policy_of(playing).asked)) == [
        (0, 0, 1),
        (0, 0, 2),
        (0, 2, 1),
        (0, 2, 0),
    ]
    revisions = result.groups[0].revisions
    assert revisions is not None
    assert [(revision.trajectory.sibling, revision.reference, revision.credit) for revision in revisions] == [
        (0, 1, 0.5),
        (0, 2, 0.0),
        (2, 1, 0.0),
        (2, 0, 0.0),
    ]
    assert (result.rollouts, result.requested, result.counts.failures, result.counts.cut_prompts) == (2, 4, {}, 0)


def test_fewer_references_are_the_successful_ones() -> None:
    playing, result = mixed(replace(CONFIG, references=1))
    assert {request.key[:-1] for request in policy_of(playing).asked} == {(0, 0, 1), (0, 2, 1)}
    assert (result.rollouts, result.requested) == (2, 2)


@pytest.mark.parametrize(
    ("won", "sibling", "shown"),
    [
        ([False] * 4, 0, [1, 2, 3]),  # no success: failures are shown
        ([False] * 4, 2, [3, 0, 1]),  # the first shown is the next sibling
        ([False, True, False, True], 2, [3, 1, 0]),  # successes first, of these the next one
        ([True, False, False, False], 1, [0, 2, 3]),
        ([False], 0, []),
    ],
)
def test_references_are_siblings_in_a_fixed_order(won: list[bool], sibling: int, shown: list[int]) -> None:
    failures = group(*[[step()]] * len(won), won=won)
    result = references(failures, failures.trajectories[sibling], 3)
    assert [sibling.sibling for sibling in result] == shown


def test_a_revision_is_asked_for_with_the_task_and_both_attempts() -> None:
    playing, result = mixed()
    task = result.groups[0].trajectories[0].steps[0].observation
    assert "Goal: craft zinc spoon." in task
    first, second, *_ = (request for request in policy_of(playing).asked if request.key[:-1] == (0, 0, 1))
    prompt = "\n".join(SCARCE).join([f"{task}|", "|succeeded|"]) + "\n".join(GOOD)
    assert [message.content for message in first.messages] == [prompt]
    # It then continues as any rollout does: the answer, and the world's observation.
    assert [message.content for message in second.messages] == [prompt, "get 5 zinc", "Got 5 zinc"]
    assert second.before is not None
    other = next(request for request in policy_of(playing).asked if request.key[:-1] == (0, 0, 2))
    assert other.messages[0].content.endswith("|failed|" + "\n".join(LOST))


def test_a_revision_plays_the_same_world_from_the_same_seed() -> None:
    _, result = mixed()
    revisions = result.groups[0].revisions
    assert revisions is not None
    assert {(revision.trajectory.task_id, revision.trajectory.seed) for revision in revisions} == {
        (SPOON.task_id, SPOON.seed)
    }
    mended, sibling = revisions[0].trajectory, result.groups[0].trajectories[1]
    assert [step.action for step in mended.steps] == GOOD
    assert mended.steps[0].observation.startswith(result.groups[0].trajectories[1].steps[0].observation + "|")
    assert [step.state_key for step in mended.steps] == [step.state_key for step in sibling.steps]
    assert (mended.success, mended.steps[-1].reward) == (True, 10.0)


def test_an_attempt_of_one_turn_is_shown_word_for_word() -> None:
    def thought(answer: str) -> list[Step]:
        return [step(answer, seen="2 + 2?", said=completion(f"<think>2 + 2</think><action>{answer}</action>"))]

    playing = collector({})
    revised(playing, [group(thought("5"), thought("4"), task_id=SPOON.task_id, won=[False, True])])
    assert policy_of(playing).asked[0].messages[0].content == (
        "2 + 2?|<think>2 + 2</think><action>5</action>|succeeded|<think>2 + 2</think><action>4</action>"
    )


def test_every_request_has_a_seed_that_nothing_but_its_place_decides() -> None:
    playing, _ = mixed()
    assert {request.key: request.seed for request in policy_of(playing).asked} == {
        request.key: derive_seed(2, *request.key) for request in policy_of(playing).asked
    }


def test_where_nothing_failed_or_nobody_can_be_shown_nothing_is_asked() -> None:
    playing = collector({(0, 0): GOOD, (0, 1): GOOD})
    result = revised(playing, rolled_out(playing, 2))
    alone = revised(playing, rolled_out(collector({}), 1))
    assert [(phase.rollouts, phase.requested, phase.groups[0].revisions) for phase in (result, alone)] == [
        (0, 0, ())
    ] * 2
    assert policy_of(playing).asked == []
    assert repairs(alone.groups[0]).tolist() == [0.0]


@pytest.mark.timeout(10)
def test_a_deterministic_phase_asks_in_waves_sorted_by_key() -> None:
    engine = ScriptedEngine(saying({**MIXED, (0, 2, 1): GOOD[:1] + LOST[:3]}))
    policy = WavePolicy(EnginePolicy(engines=(engine,), codec=CharCodec(), prompt_tokens=10_000))  # pyright: ignore
    playing = Collector(
        policy=policy,
        pool=LocalPool(lambda: TextCraft(max_steps=LIMIT)),  # pyright: ignore[reportArgumentType]
        prompter=WORLDS["textcraft"].prompter("bare"),
        config=RolloutConfig(history=LIMIT),
    )
    groups = asyncio.run(playing.collect([SPOON], group_size=3, options=play_options(seed=1))).groups
    engine.waves.clear()
    revised(playing, groups)
    waves = [[name.rpartition("-")[0] for name in wave] for wave in engine.waves]
    keys = ["0-0-1", "0-0-2", "0-2-0", "0-2-1"]
    assert waves == [[f"{key}-{turn}" for key in keys] for turn in range(LIMIT)]


# --- what cannot be revised ---------------------------------------------------------------------------------------


def test_a_revision_that_the_world_spoils_repairs_nothing_and_is_counted() -> None:
    playing = collector(MIXED)
    groups = rolled_out(playing, 3)
    spoiled = collector(MIXED, pool=LocalPool(TextCraft, before=failing("env_error", task_id=SPOON.task_id, times=99)))
    result = revised(spoiled, groups)
    assert (result.rollouts, result.requested, result.counts.failures) == (2, 4, {"env_error": 12})  # two retries each
    assert result.groups[0].revisions == ()
    assert repairs(result.groups[0]).tolist() == [0.0] * 3
    assert not any(mark.any() for mark in edits(result.groups[0]))


def test_a_prompt_with_no_room_for_two_attempts_is_counted_once_and_costs_no_request() -> None:
    groups = rolled_out(collector(MIXED), 3)
    cramped = collector(MIXED, prompt_tokens=len(groups[0].trajectories[0].steps[0].observation) + 100)
    result = revised(cramped, groups)
    assert (result.requested, result.counts.failures, policy_of(cramped).asked) == (4, {"prompt_too_long": 4}, [])
    assert repairs(result.groups[0]).tolist() == [0.0] * 3


# --- what is repaired ---------------------------------------------------------------------------------------------


def test_a_failure_that_one_of_two_revisions_mends_is_worth_half_and_its_first_step_is_to_blame() -> None:
    _, result = mixed()
    (whole,) = result.groups
    assert repairs(whole).tolist() == [0.5, 0.0, 0.0]
    rows = [mark.tolist() for mark in edits(whole)]
    lengths = [[len(text) + 1 for text in plan] for plan in (SCARCE, GOOD, LOST)]  # letters and the end of the turn
    assert rows[0] == [True] * lengths[0][0]
    assert rows[1:] == [[False] * length for plan in lengths for length in plan][1:]


def test_a_group_of_failures_can_be_repaired_from_a_failure() -> None:
    playing = collector(FAILED)
    result = revised(playing, rolled_out(playing, 2))
    assert (result.requested, repairs(result.groups[0]).tolist()) == (2, [0.5, 0.0])
    assert [mark.any() for mark in edits(result.groups[0])] == [True, *[False] * 7]


@pytest.mark.parametrize(("credit", "s"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.0)])
def test_s_is_the_sum_of_what_revisions_earned_and_at_most_one(credit: float, s: float) -> None:
    playing = collector({**MIXED, (0, 0, 2): GOOD})
    result = revised(playing, rolled_out(playing, 3), replace(CONFIG, credit=credit))
    assert repairs(result.groups[0]).tolist() == [s, 0.0, 0.0]


# --- what was changed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "places"),
    [
        ("abcd", "abcd", []),
        ("abcd", "axcd", [1]),  # replaced
        ("abcd", "acd", [1]),  # deleted
        ("acd", "abcd", [1]),  # inserted: b was due where c stands
        ("abcd", "xyzw", [0, 1, 2, 3]),
        ("abcd", "ab", [2, 3]),
        ("ab", "abcd", []),  # added after the end: nothing stands there
        ("abcd", "", [0, 1, 2, 3]),
        ("", "abcd", []),
        ("abcd", "xabc", [0, 3]),  # shifted: inserted before a, and d deleted
        ([300, 2, 7], [300, 7], [1]),
        (["go", "stop"], ["go", "go"], [1]),
    ],
)
def test_places_that_an_edit_touches(before: Sequence[Hashable], after: Sequence[Hashable], places: list[int]) -> None:
    assert changed(before, after) == places


@given(before=st.lists(st.integers(0, 3), max_size=8), after=st.lists(st.integers(0, 3), max_size=8))
def test_what_is_not_touched_stands_in_the_revision_in_the_same_order(before: list[int], after: list[int]) -> None:
    kept = [value for place, value in enumerate(before) if place not in changed(before, after)]
    rest = iter(after)
    assert all(value in rest for value in kept)
    assert len(changed(before, after)) <= Levenshtein.distance(before, after)


def revision(*steps: Step, sibling: int = 0, won: bool = True) -> Revision:
    return Revision(trajectory=trajectory(*steps, sibling=sibling, won=won), reference=1, credit=0.5 if won else 0.0)


def marks(failed: Sequence[Step], *revisions: Revision) -> list[list[bool]]:
    """Of the steps of a failed rollout."""
    whole = replace(group(failed, [step()], won=[False, True]), revisions=revisions)
    return [mark.tolist() for mark in edits(whole)][: len(failed)]


def answer(*tokens: int) -> Step:
    return step(str(tokens[-1]), said=completion(tokens=tokens))


def test_a_rollout_of_one_turn_is_compared_token_by_token() -> None:
    assert marks([answer(3, 4, 5, 6, 0)], revision(answer(3, 4, 7, 6, 0))) == [[False, False, True, False, False]]
    assert marks([answer(3, 5, 0)], revision(answer(3, 4, 5, 0))) == [[False, True, False]]


def test_of_a_wrong_answer_only_what_the_right_one_changes_is_to_blame() -> None:
    world = Arithmetic()
    task = Task(number=0, task_id=world.tasks("train")[0], seed=0)
    world.reset(task.task_id)
    right = next(world.expert())
    playing = Collector(
        policy=ScriptedPolicy(lambda key: f"{right}7" if key[:-1] == (0, 0) else right),
        pool=LocalPool(Arithmetic),  # pyright: ignore[reportArgumentType]
        prompter=WORLDS["arithmetic"].prompter("bare"),
        config=RolloutConfig(history=1),
    )
    groups = asyncio.run(playing.collect([task], group_size=2, options=play_options(seed=1))).groups
    assert [rollout.success for rollout in groups[0].trajectories] == [False, True]
    (whole,) = revised(playing, groups).groups
    assert repairs(whole).tolist() == [0.5, 0.0]
    digits = [False] * len(right)
    assert [mark.tolist() for mark in edits(whole)] == [[*digits, True, False], [*digits, False]]


def test_a_longer_rollout_is_compared_action_by_action_whatever_was_said_around_it() -> None:
    failed = [step("go", said=completion(tokens=[1, 2])), step("wait", said=completion(tokens=[3, 4, 5]))]
    turns = [step("go", said=completion(tokens=[8, 9])), step("stop", said=completion(tokens=[3, 4, 5]))]
    assert marks(failed, revision(*turns)) == [[False, False], [True, True, True]]


def test_two_turns_that_became_one_are_compared_by_actions() -> None:
    failed = [step("wait", said=completion(tokens=[1, 2])), step("go")]
    assert marks(failed, revision(step("go", said=completion(tokens=[1, 9])))) == [[True, True], [False, False]]


def test_a_turn_that_became_two_is_compared_by_actions() -> None:
    assert marks([step("stop")], revision(step("go"), step("go"))) == [[True, True]]


def test_a_response_without_an_action_equals_no_other() -> None:
    lost = step("?", valid=False)
    assert marks([step("go"), lost], revision(step("go"), lost, step("go"))) == [[False, False], [True, True]]


def test_changes_of_all_successful_revisions_count_together_and_those_of_failed_ones_do_not() -> None:
    failed = [step("a"), step("b"), step("c"), step("d")]
    first = revision(step("x"), step("b"), step("c"), step("d"))
    second = revision(step("a"), step("b"), step("y"), step("d"))
    third = revision(step("a"), step("z"), step("c"), step("d"), won=False)
    result = marks(failed, first, second, third)
    assert [np.all(mark) for mark in result] == [True, False, True, False]
    assert [np.any(mark) for mark in result] == [True, False, True, False]


# --- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "{task} {attempt}"}, "revise.prompt does not show {reference}"),
        ({"prompt": "{task} {reference}"}, "revise.prompt does not show {attempt}"),
        ({"prompt": "{attempt} {reference}"}, "revise.prompt does not show {task}"),
        ({"prompt": PROMPT + "{goal}"}, "revise.prompt asks for {goal}: known are"),
        ({"prompt": PROMPT + "{}"}, "revise.prompt asks for {}: known are"),
        ({"prompt": PROMPT + "}"}, "revise.prompt is no template (Single '}' encountered"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=r"^revise\.") as refusal:
        replace(CONFIG, **changes)  # pyright: ignore[reportArgumentType]
    assert message in str(refusal.value)


def test_braces_of_a_world_are_no_fields_of_the_template() -> None:
    playing = collector({})
    odd = [step("{task}", seen="a {brace} {"), step("go")]
    revised(playing, [group(odd, odd, task_id=SPOON.task_id)])
    assert policy_of(playing).asked[0].messages[0].content == "a {brace} {|{task}\ngo|failed|{task}\ngo"


def test_equal_phases_give_equal_groups() -> None:
    assert plain(mixed()[1].groups) == plain(mixed()[1].groups)
