"""Rollouts run independently to their own ends; failed ones are counted, retried or left out."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import pytest

from envs.base import Ending, EnvStep
from envs.prompts import Dialect, Prompter, React
from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.policy import Key
from rollout.pool import EpisodeFailed
from rollout.seeds import derive_seed
from rollout.types import Trajectory, Truncated
from tests.fakes import (
    CORRIDOR_PROMPTS,
    LocalPool,
    ScriptedPolicy,
    completion,
    failing,
    plain,
    play_options,
    step,
    tasks,
)


def collected(
    *task_ids: str,
    policy: ScriptedPolicy | None = None,
    pool: LocalPool | None = None,
    prompter: Prompter = CORRIDOR_PROMPTS,
    group_size: int = 2,
    history: int = 6,
    retries: int = 2,
    max_failure_share: float = 1.0,
    max_idle_turns: int | None = None,
    on_done: Callable[[Trajectory], None] = lambda _: None,
    truncated: Truncated = "keep",
    graded: bool = False,
    early_end: bool = False,
) -> Collected:
    collector = Collector(
        policy=policy or ScriptedPolicy(),
        pool=pool or LocalPool(),  # pyright: ignore[reportArgumentType]
        prompter=prompter,
        config=RolloutConfig(
            history=history,
            retries=retries,
            max_failure_share=max_failure_share,
            truncated=truncated,
            graded=graded,
            early_end=early_end,
        ),
    )
    options = replace(play_options(seed=1, max_idle_turns=max_idle_turns), on_done=on_done)
    return asyncio.run(collector.collect(tasks(*task_ids), group_size=group_size, options=options))


def names(result: Collected) -> list[tuple[str, list[int]]]:
    return [(group.task_id, [rollout.sibling for rollout in group.trajectories]) for group in result.groups]


# --- truncated responses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "valid"), [("keep", True), ("mask", True), ("invalid", False)])
def test_a_truncated_response_with_a_whole_action_is_invalid_only_if_so_set(rule: Truncated, valid: bool) -> None:
    react = React(Dialect(introduction="", grammar=lambda line: line in ("go", "wait")))
    policy = ScriptedPolicy("<think></think><action>go</action> and", finish_reason="length")
    result = collected("1", group_size=1, policy=policy, prompter=react, truncated=rule)
    (only,) = result.groups[0].trajectories[0].steps
    assert (only.action, only.valid, only.completion.truncated) == ("go", valid, True)


def test_a_command_line_that_may_be_cut_is_not_played() -> None:
    policy = ScriptedPolicy("go", finish_reason="length")
    result = collected("1", group_size=1, policy=policy, max_idle_turns=1)
    (only,) = result.groups[0].trajectories[0].steps
    assert (only.action, only.valid, result.groups[0].trajectories[0].success) == ("", False, False)


@pytest.mark.parametrize(("graded", "earned"), [(False, [0.0, 0.0]), (True, [0.0, 2.5])])
def test_a_rollout_that_fails_earns_its_score_only_where_rewards_are_graded(graded: bool, earned: list[float]) -> None:
    policy = ScriptedPolicy(lambda key: ("go", "stop")[key[2]])
    result = collected("4", group_size=1, policy=policy, graded=graded)
    assert [step.reward for step in result.groups[0].trajectories[0].steps] == earned


def test_a_rollout_that_is_stuck_earns_its_score_where_rewards_are_graded() -> None:
    policy = ScriptedPolicy(lambda key: ("go", "wait", "wait")[key[2]])
    result = collected("4", group_size=1, policy=policy, graded=True, max_idle_turns=2)
    (rollout,) = result.groups[0].trajectories
    assert (rollout.ending, rollout.score) == (Ending.STUCK, 0.25)
    assert [step.reward for step in rollout.steps] == [0.0, 0.0, 2.5]


def test_a_win_whose_world_gives_no_score_earns_the_whole_reward_where_rewards_are_graded() -> None:
    won = EnvStep(observation="", state_key="", won=True, ending=Ending.SUCCESS)
    assert RolloutConfig(history=2, success_reward=4.0, graded=True).reward(won, last=True) == 4.0


def test_a_rollout_that_wins_earns_the_same_where_rewards_are_graded() -> None:
    result = collected("2", group_size=1, policy=ScriptedPolicy("go"), graded=True)
    assert [step.reward for step in result.groups[0].trajectories[0].steps] == [0.0, 10.0]


# --- what is recorded -----------------------------------------------------------------------------------------------


def test_a_rollout_records_observations_answers_actions_rewards_and_milestones() -> None:
    answers = ["fly", "go", "go"]
    observations = ["corridor 100 of length 2", "fly?", "at 1"]
    prompts = ["corridor 100 of length 2\n", "fly\0fly?\n", "go\0at 1\n"]  # each goes on from the ones before
    result = collected("2", group_size=1, policy=ScriptedPolicy(lambda key: answers[key[2]]))
    assert plain(result.groups[0].trajectories[0]) == plain(
        Trajectory(
            task_id="2",
            sibling=0,
            seed=100,
            steps=tuple(
                step(
                    answers[time],
                    seen=observations[time],
                    state="001"[time],
                    milestone=(0, 1, 2)[time],
                    valid=answers[time] != "fly",
                    reward=10.0 if time == 2 else 0.0,
                    said=completion(
                        answers[time],
                        prompt=[*"".join(prompts[: time + 1]).encode()],
                        tokens=[*answers[time].encode(), 0],
                    ),
                )
                for time in range(3)
            ),
            ending=Ending.SUCCESS,
            success=True,
            score=1.0,
        )
    )


@pytest.mark.parametrize(
    ("says", "ending", "steps", "score"), [("stop", Ending.FAILURE, 1, 0.0), ("wait", Ending.LIMIT, 6, 0.0)]
)
def test_a_lost_rollout_is_kept_and_earns_nothing(says: str, ending: Ending, steps: int, score: float) -> None:
    result = collected("3", group_size=1, policy=ScriptedPolicy(says))
    (lost,) = result.groups[0].trajectories
    assert (lost.ending, lost.success, lost.score, len(lost.steps)) == (ending, False, score, steps)
    assert [step.reward for step in lost.steps] == [0.0] * steps
    assert (result.counts.failures, result.counts.dropped_groups) == ({}, 0)


@pytest.mark.parametrize(
    ("says", "max_idle_turns", "ending", "steps"),
    [
        (["wait", "go", "wait", "wait", "go"], 2, Ending.STUCK, 4),
        (["wait", "go", "wait", "go", "wait", "go"], 2, Ending.SUCCESS, 6),
        (["go", "go", "wait", "go"], 1, Ending.STUCK, 3),
        (["wait", "wait", "wait", "wait", "go", "go", "go"], None, Ending.LIMIT, 6),
        (["wait"] * 6, 6, Ending.LIMIT, 6),
    ],
)
def test_a_rollout_ends_after_max_idle_turns_that_change_nothing(
    says: list[str], max_idle_turns: int | None, ending: Ending, steps: int
) -> None:
    result = collected(
        "3", group_size=1, max_idle_turns=max_idle_turns, policy=ScriptedPolicy(lambda key: says[key[2]])
    )
    (rollout,) = result.groups[0].trajectories
    assert (rollout.ending, len(rollout.steps), rollout.success) == (ending, steps, ending is Ending.SUCCESS)


@pytest.mark.parametrize(("max_idle_turns", "counted"), [(3, [0, 1, 2, 0, 1]), (None, [0] * 5)])
def test_a_step_tells_the_idle_turns_before_it_where_a_rollout_ends_by_them(
    max_idle_turns: int | None, counted: list[int]
) -> None:
    says = ["wait", "fly", "go", "wait", "stop"]
    result = collected(
        "3", group_size=1, max_idle_turns=max_idle_turns, policy=ScriptedPolicy(lambda key: says[key[2]])
    )
    (rollout,) = result.groups[0].trajectories
    assert [step.idle_turns for step in rollout.steps] == counted


def test_the_seed_of_a_request_depends_only_on_task_sibling_and_turn() -> None:
    policy = ScriptedPolicy()
    collected("1", "2", policy=policy, group_size=2)
    keys = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    assert sorted((request.key, request.seed) for request in policy.asked) == [
        (key, derive_seed(1, *key)) for key in keys
    ]


def test_a_request_carries_the_previous_turn_of_its_own_rollout() -> None:
    policy = ScriptedPolicy(lambda key: ["go", "wait"][key[1]])
    collected("2", policy=policy)
    requests = {request.key: request for request in policy.asked}
    assert [requests[0, sibling, 0].before for sibling in (0, 1)] == [None, None]
    for sibling, answer in enumerate(["go", "wait"]):
        before = requests[0, sibling, 1].before
        assert before is not None
        assert (before.messages, before.completion.text) == (requests[0, sibling, 0].messages, answer)


class SessionCounter(ScriptedPolicy):
    """Records the size of each session, and how many of its rollouts left."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[int] = []
        self.left = 0

    @contextmanager
    def session(self, rollouts: int) -> Generator[Self]:
        self.sessions.append(rollouts)
        yield self

    def leave(self) -> None:
        self.left += 1


def test_a_collection_is_one_session_that_each_rollout_leaves_once_even_a_failed_one() -> None:
    policy = SessionCounter()
    result = collected("2", "3", policy=policy, pool=LocalPool(before=failing("env_error", task_id="3", times=4)))
    assert (policy.sessions, policy.left) == ([4], 4)
    assert (result.counts.failures, result.counts.dropped_groups) == ({"env_error": 4}, 1)


# --- no barrier ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(10)
@pytest.mark.parametrize("slow_part", ["policy", "world"])
def test_a_slow_rollout_holds_no_other_back(slow_part: str) -> None:
    others_done, finished = asyncio.Event(), []

    async def slow_policy(key: Key) -> None:
        if slow_part == "policy" and key[:2] == (0, 0):
            await others_done.wait()

    async def slow_world(task_id: str, episode: int, turn: int) -> None:
        if slow_part == "world" and episode == 1:
            await others_done.wait()

    def on_done(rollout: Trajectory) -> None:
        finished.append((rollout.task_id, rollout.sibling))
        if len(finished) == 5:
            others_done.set()

    # With a barrier anywhere, the others would wait for the slow rollout, which waits for them.
    policy, pool = ScriptedPolicy(before=slow_policy), LocalPool(before=slow_world)
    result = collected("1", "4", "3", policy=policy, pool=pool, on_done=on_done)
    assert finished[-1] == ("1", 0)
    assert names(result) == [("1", [0, 1]), ("4", [0, 1]), ("3", [0, 1])]


def test_results_are_in_the_order_of_the_tasks_whatever_order_they_come_in() -> None:
    async def late_first(key: Key) -> None:
        await asyncio.sleep(0.01 * (4 - 2 * key[0] - key[1]))

    arrived: list[tuple[str, int]] = []
    result = collected(
        "3",
        "1",
        policy=ScriptedPolicy(before=late_first),
        on_done=lambda rollout: arrived.append((rollout.task_id, rollout.sibling)),
    )
    assert arrived == [("1", 1), ("1", 0), ("3", 1), ("3", 0)]
    assert names(result) == [("3", [0, 1]), ("1", [0, 1])]
    assert plain(result.groups) == plain(collected("3", "1").groups)


# --- what cannot be played ----------------------------------------------------------------------------------------


def in_episodes(*numbers: int, reason: str = "env_error") -> LocalPool:
    """Episodes of these numbers, in order of being handed out, fail at their second turn."""

    async def before(task_id: str, episode: int, turn: int) -> None:
        if episode in numbers and turn == 1:
            raise EpisodeFailed(reason, f"{task_id} in episode {episode}")

    return LocalPool(before=before)


@pytest.mark.parametrize("turn", [-1, 0, 2])  # -1 is the reset
def test_a_failed_episode_is_played_again_from_its_seed(turn: int) -> None:
    undisturbed, policy = collected("3", "1"), ScriptedPolicy()
    result = collected("3", "1", policy=policy, pool=LocalPool(before=failing("died", task_id="3", times=2, turn=turn)))
    assert plain(result.groups) == plain(undisturbed.groups)
    assert (result.counts.failures, result.counts.dropped_groups) == ({"died": 2}, 0)
    # A request that was sent twice was the same both times, its seed included.
    assert len({plain(request) for request in policy.asked}) == len({request.key for request in policy.asked})


def test_failures_are_counted_by_reason() -> None:
    hooks = [failing("worker_died", task_id="3", times=2), failing("env_timeout", task_id="2", times=1)]

    async def before(task_id: str, episode: int, turn: int) -> None:
        for hook in hooks:
            await hook(task_id, episode, turn)

    assert collected("3", "2", pool=LocalPool(before=before)).counts.failures == {"worker_died": 2, "env_timeout": 1}


def test_a_group_with_a_rollout_that_failed_for_good_is_left_out_whole() -> None:
    finished: list[tuple[str, int]] = []
    # Nothing here waits, so rollouts are played one by one: the third takes episode 3, and again 4 and 5.
    result = collected(
        "2",
        "3",
        "4",
        pool=in_episodes(3, 4, 5),
        on_done=lambda rollout: finished.append((rollout.task_id, rollout.sibling)),
    )
    assert names(result) == [("2", [0, 1]), ("4", [0, 1])]
    assert (result.counts.dropped_groups, result.counts.failures) == (1, {"env_error": 3})
    assert sorted(finished) == [("2", 0), ("2", 1), ("3", 1), ("4", 0), ("4", 1)]


def test_rollouts_of_a_dropped_group_end_early_where_asked_for_and_change_no_other() -> None:
    def asked(*, early_end: bool) -> tuple[Collected, list[Key]]:
        policy = ScriptedPolicy()
        pool = in_episodes(
            3, 4, 5
        )  # those of the first rollout of task 3, which is played and retried before the second
        return collected("2", "3", "4", policy=policy, pool=pool, early_end=early_end), [
            ask.key for ask in policy.asked
        ]

    whole, all_asked = asked(early_end=False)
    early, fewer_asked = asked(early_end=True)
    assert (whole.counts.ended_early, early.counts.ended_early) == (0, 1)
    assert plain(early.groups) == plain(whole.groups)
    assert replace(early.counts, ended_early=0) == whole.counts
    assert {key[:2] for key in all_asked} - {key[:2] for key in fewer_asked} == {(1, 1)}


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_episode_is_retried_as_often_as_configured(retries: int) -> None:
    pool = LocalPool(before=failing("env_error", task_id="3", times=99))
    result = collected("3", pool=pool, group_size=1, retries=retries)
    assert (result.counts.failures, result.counts.dropped_groups, pool.episodes) == (
        {"env_error": 1 + retries},
        1,
        1 + retries,
    )


def test_every_episode_is_returned_to_the_pool_even_a_failed_one() -> None:
    pool = in_episodes(2, 3)
    collected("2", "3", pool=pool)
    assert sorted(pool.left) == list(range(1, pool.episodes + 1)) == [1, 2, 3, 4, 5, 6]


def test_an_episode_lost_with_anothers_worker_is_played_again_without_using_up_a_retry() -> None:
    undisturbed = collected("3", "2")
    pool = LocalPool(before=failing("worker_lost", task_id="3", times=9))
    result = collected("3", "2", pool=pool, retries=0)
    assert plain(result.groups) == plain(undisturbed.groups)
    assert (result.counts.failures, result.counts.dropped_groups) == ({"worker_lost": 9}, 0)


@pytest.mark.parametrize("reason", ["worker_died", "env_timeout"])
def test_siblings_share_the_retries_of_a_task_that_takes_its_workers_down(reason: str) -> None:
    pool = LocalPool(before=failing(reason, task_id="3", times=99))
    result = collected("3", "2", pool=pool, group_size=4, retries=2)
    assert (result.counts.failures, names(result)) == ({reason: 3}, [("2", [0, 1, 2, 3])])


def test_collecting_stops_above_the_stated_share_of_dropped_groups_and_not_at_it() -> None:
    def four_tasks(*broken: int) -> Collected:
        return collected("2", "3", "4", "2", pool=in_episodes(*broken), group_size=1, retries=0, max_failure_share=0.25)

    assert four_tasks(1).counts.dropped_groups == 1
    last = r"the last: env_error: 4 in episode 3 \(task 4\)"
    message = rf"2 of 4 groups dropped \(\{{'env_error': 2\}}; {last}\).*max_failure_share=0.25"
    with pytest.raises(RolloutsFailed, match=message):
        four_tasks(1, 3)


def test_collecting_stops_as_soon_as_the_failure_share_is_exceeded() -> None:
    async def before(task_id: str, episode: int, turn: int) -> None:
        if task_id == "3":
            raise EpisodeFailed("env_error", "broken")
        await asyncio.Event().wait()  # the others would be played for ever

    with pytest.raises(RolloutsFailed, match="1 of 3 groups dropped"):
        collected("2", "3", "4", pool=LocalPool(before=before), retries=0, max_failure_share=0.25)


def test_a_bad_program_is_a_crash_that_ends_the_other_rollouts() -> None:
    async def before(task_id: str, episode: int, turn: int) -> None:
        if task_id == "3":
            raise ZeroDivisionError
        await asyncio.sleep(0.01)

    finished: list[Trajectory] = []
    with pytest.raises(ZeroDivisionError):
        collected("2", "3", pool=LocalPool(before=before), on_done=finished.append)
    assert finished == []


def test_a_dropped_group_is_named_by_its_task_and_its_last_reason() -> None:
    result = collected("2", "3", pool=LocalPool(before=failing("env_error", task_id="3", times=99)))
    assert [(group.task.task_id, group.reason) for group in result.counts.dropped] == [("3", "env_error")]
