"""Rollouts of a world whose true advantages are known, as if they had been recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from envs.base import Ending
from estimators import StepBatch
from rollout.types import Completion, RolloutGroup, Step, Trajectory
from trainer.data.rows import RowTable
from trainer.inspect.config import InspectConfig
from trainer.lab.worlds.bench import WORLDS
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Sample, Tabular, sample

NAMED = 3
"""How many of the states that look alike are named."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Rollouts drawn from a world of known truth."""

    rows: RowTable
    """As text."""

    batch: StepBatch
    """What estimators see, in the order of the rows."""

    truth: NDArray[np.float64]
    """float64 [N]. The true advantage of each row."""


def drawn_rollouts(config: InspectConfig) -> Drawn:
    """The rollouts that the config asks for."""
    assert config.world is not None  # checked by the config
    world = WORLDS[config.world](config.layout)
    rng = np.random.default_rng([config.seed, config.layout, crc32(config.world.encode())])
    drawn = sample(world, groups=config.groups, size=config.group_size, rng=rng)
    order = drawn.batch.rollouts.order  # by rollout, then by time
    columns = {field.name: getattr(drawn.batch, field.name) for field in fields(StepBatch) if field.init}
    ordered = {name: value if value is None else value[order] for name, value in columns.items()}
    return Drawn(
        rows=RowTable(_groups(world, drawn, order, config)),
        batch=replace(drawn.batch, **ordered),
        truth=drawn.truth[order],
    )


def _groups(world: Tabular, drawn: Sample, order: NDArray[np.int64], config: InspectConfig) -> Sequence[RolloutGroup]:
    steps = [_step(world, drawn, row) for row in order.tolist()]
    cuts = np.cumsum(drawn.batch.rollouts.size)[:-1].tolist()
    parts = [steps[start:end] for start, end in zip([0, *cuts], [*cuts, len(steps)], strict=True)]
    tasks = drawn.task[drawn.batch.rollouts.firsts()].tolist()
    groups: list[RolloutGroup] = []
    for number in range(config.groups):
        first = number * config.group_size
        name = f"task {tasks[first] + 1}"
        siblings = [_trajectory(name, number, sibling, parts[first + sibling]) for sibling in range(config.group_size)]
        groups.append(RolloutGroup(task_id=name, seed=number, trajectories=tuple(siblings)))
    return groups


def _trajectory(task: str, group: int, sibling: int, steps: Sequence[Step]) -> Trajectory:
    paid = sum(step.reward for step in steps) / SUCCESS_REWARD
    won = paid >= 1.0 - 1e-9
    return Trajectory(
        task_id=task,
        sibling=sibling,
        seed=group,
        steps=tuple(steps),
        ending=Ending.SUCCESS if won else Ending.LIMIT,
        success=won,
        score=min(1.0, max(0.0, paid)),
    )


def _step(world: Tabular, drawn: Sample, row: int) -> Step:
    state, code = int(drawn.state[row]), int(drawn.batch.action[row])
    action = world.acts[code] if world.acts else f"action {code}"
    nothing = np.zeros(0, np.int32)
    return Step(
        observation=_name(world, state),
        completion=Completion(
            prompt_ids=nothing,
            token_ids=nothing,
            logprobs=np.zeros(0, np.float32),
            text=action,
            finish_reason="stop",
            policy_version=0,
        ),
        action=action,
        valid=True,
        reward=float(drawn.batch.reward[row]),
        state_key=_seen(world, int(drawn.batch.state[row])),
    )


def _name(world: Tabular, state: int) -> str:
    return world.names[state] if world.names else f"state {state}"


def _seen(world: Tabular, text: int) -> str:
    """What a policy sees of a state: the names of states that look like it, and which of its texts it is."""
    look, wording = divmod(text, world.texts)
    states = np.flatnonzero(world.shown == look).tolist()
    more = [f"{len(states) - NAMED} more"] if len(states) > NAMED else []
    alike = " or ".join([*(_name(world, state) for state in states[:NAMED]), *more])
    return alike if world.texts == 1 else f"{alike}, text {wording + 1}"
