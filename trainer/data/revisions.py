"""Demonstrations of revising: an attempt with mistakes, a sibling's, and the expert who mends it."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from envs.base import Env
from rollout.seeds import derive_seed
from trainer.data.demos import Attempts, Demo, demonstrate, mistaken

TRIES = 8  # attempts until one fails; a mistake may do no harm
MOST_MISTAKES = 3  # in one attempt
IDLE_TURNS = 2  # after which an attempt is given up, as experiment=tiny does
SIBLING_WINS = 0.5  # share of the demonstrations that show a sibling's success


def revising(env: Env, task_ids: Iterable[str], *, seed: int, share: float) -> Iterator[Demo]:
    """The expert revises a failed attempt on a share of the tasks, with the world's seed that `demonstrate` gives them.

    Attempts are the expert's actions with one to three mistakes, played without a look at what they lead to. The
    sibling is the expert itself, or another failure. A task whose mistakes do no harm is left out.
    """
    for task_id in task_ids:
        rng = random.Random(derive_seed(seed, "revision", task_id))
        if rng.random() >= share:
            continue
        (expert,) = demonstrate(env, [task_id], seed=seed)
        won = rng.random() < SIBLING_WINS
        failed = _failure(env, expert, rng) if expert.won else None
        sibling = tuple(step.action for step in expert.steps) if won else _failure(env, expert, rng)
        if failed is not None and sibling is not None:
            yield replace(expert, attempts=Attempts(failed=failed, sibling=sibling, sibling_won=won))


def _failure(env: Env, expert: Demo, rng: random.Random) -> tuple[str, ...] | None:
    """The actions of an attempt that fails; None if none of `TRIES` does."""
    for _ in range(TRIES):
        actions = [step.action for step in expert.steps]
        for _ in range(rng.randint(1, MOST_MISTAKES)):
            place = rng.randrange(len(actions))
            if actions[place]:
                actions[place] = mistaken(actions[place], rng)
        if (failed := _played(env, expert, actions)) is not None:
            return failed
    return None


def _played(env: Env, expert: Demo, actions: list[str]) -> tuple[str, ...] | None:
    """The actions up to the end, the last one again and again where they are too few; None if they solve the task."""
    now, played, idle = env.reset(expert.task_id, seed=expert.seed), list[str](), 0
    while now.ending is None and idle < IDLE_TURNS:
        played.append(actions[min(len(played), len(actions) - 1)])
        after = env.step(played[-1])
        idle = idle + 1 if after.state_key == now.state_key else 0
        now = after
    return None if now.won else tuple(played)
