"""Demonstrations of revising: a failure, a sibling and the mended answer, as a revision phase would ask for it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from envs import WORLDS, Env, make
from envs.prompts import Prompter
from rollout.collect import Collector, RolloutConfig
from rollout.policy import Key
from rollout.revise import ReviseConfig, revise
from rollout.types import Task
from tests.fakes import CORRIDOR_PROMPTS, CharCodec, Corridor, LocalPool, ScriptedPolicy, play_options
from trainer.data.demos import Demo, demonstrate, read, rendered_turns, write
from trainer.data.revisions import IDLE_TURNS, revising
from trainer.data.supervised import supervised

WORLD = make("textcraft", max_steps=12)
BARE = WORLDS["textcraft"].prompter("bare")


def mended(env: Env, *, count: int = 12, seed: int = 0, share: float = 1.0) -> list[Demo]:
    return list(revising(env, env.tasks("train")[:count], seed=seed, share=share))


@pytest.mark.parametrize(
    ("env", "prompts", "history"),
    [
        (WORLD, BARE, 40),
        (WORLD, WORLDS["textcraft"].prompter("react"), 2),
        (make("arithmetic"), WORLDS["arithmetic"].prompter("bare"), 20),
        (make("arithmetic"), WORLDS["arithmetic"].prompter("react"), 2),
    ],
    ids=["many turns, bare", "many turns, react", "one turn, bare", "one turn, react"],
)
@pytest.mark.parametrize("sibling_won", [True, False])
def test_a_demonstration_of_revising_has_the_prompts_of_a_revision(
    env: Env, prompts: Prompter, history: int, sibling_won: bool
) -> None:
    demo = next(demo for demo in mended(env) if demo.attempts and demo.attempts.sibling_won is sibling_won)
    attempts = demo.attempts
    assert attempts is not None
    turns = list(rendered_turns(demo, prompts, history=history))
    attempt_of = (attempts.failed, attempts.sibling)

    def said(key: Key) -> str:
        return turns[key[3]][1] if len(key) == 4 else prompts.respond(attempt_of[key[1]][key[2]])

    policy = ScriptedPolicy(said)
    collector = Collector(
        policy=policy,
        pool=LocalPool(lambda: env),  # pyright: ignore[reportArgumentType]
        prompter=prompts,
        config=RolloutConfig(history=history),
    )
    options = replace(play_options(), max_idle_turns=IDLE_TURNS)
    task = Task(number=0, task_id=demo.task_id, seed=demo.seed)
    groups = asyncio.run(collector.collect([task], group_size=2, options=options)).groups
    assert [rollout.success for rollout in groups[0].trajectories] == [False, sibling_won]
    policy.asked.clear()
    (group,) = asyncio.run(revise(collector, groups, config=ReviseConfig(), options=options)).groups
    asked = [request for request in policy.asked if request.key[:3] == (0, 0, 1)]
    assert [request.messages for request in asked] == [next(shorter).messages for shorter, _ in turns]
    assert group.revisions is not None
    assert group.revisions[0].trajectory.success


def test_the_rows_are_the_experts_answers_behind_a_prompt_of_ones_own_wording() -> None:
    (demo,) = mended(Corridor(), count=1)
    assert demo.attempts is not None
    prompt = "{task}|{attempt}|{reference}"
    codec = CharCodec()
    batch = supervised(
        [demo],
        CORRIDOR_PROMPTS,
        codec,  # pyright: ignore[reportArgumentType]
        history=6,
        prompt_tokens=999,
        response_tokens=999,
        revise_prompt=prompt,
    ).batch
    first = "".join(map(chr, batch.prompt(0)))
    failed, sibling = ("\n".join(actions) for actions in (demo.attempts.failed, demo.attempts.sibling))
    assert first == f"{demo.steps[0].observation}|{failed}|{sibling}\n"
    assert batch.num_rows == len(demo.steps)


def test_attempts_fail_and_differ_from_task_to_task_and_from_seed_to_seed() -> None:
    demos = mended(WORLD)
    assert demos == mended(WORLD)
    assert demos != mended(WORLD, seed=1)
    assert {demo.attempts.sibling_won for demo in demos if demo.attempts} == {True, False}
    expert = {demo.task_id: demo for demo in demonstrate(WORLD, [demo.task_id for demo in demos], seed=0)}
    assert [replace(demo, attempts=None) for demo in demos] == [expert[demo.task_id] for demo in demos]
    for demo in demos:
        assert demo.attempts is not None
        won = tuple(step.action for step in demo.steps)
        assert demo.attempts.failed != won
        assert (demo.attempts.sibling == won) is demo.attempts.sibling_won


def test_a_share_of_the_tasks_is_revised_and_none_where_it_is_0() -> None:
    assert mended(WORLD, share=0.0) == []
    assert 10 <= len(mended(WORLD, count=60, share=0.5)) <= 50


def test_a_demonstration_of_revising_comes_back_as_it_was_written(tmp_path: Path) -> None:
    demos = mended(WORLD, count=3)
    write(demos, tmp_path / "demos.jsonl")
    assert read(tmp_path / "demos.jsonl") == demos
