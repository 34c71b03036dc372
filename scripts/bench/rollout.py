"""How long a collection takes: our schedule, without a barrier, against two that move all episodes in lockstep.

`python -m scripts.bench.rollout [--quick] [--seed N] [--real]`: 128 episodes of 50 turns, the same lengths, worlds and
seeds in each scheme. unpaced: ours, but requests go to the engine as they come. lockstep: every turn waits for the
slowest episode. reloading: before every turn it also loads the weights and drops the cache of prompts. bound: what no
schedule can undercut. The engine is simulated in virtual time (`virtual_time.Speed`: 1.5B on one H100), the same for
all; --real asks vLLM on the CPU as well, with a tiny model and fewer turns. Prints a table; the last line is JSON.
"""

import asyncio
import itertools
import math
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from envs.base import Ending, EnvStep
from envs.prompts import Bare, Dialect, Message
from rollout import ray_cluster
from rollout.collect import Collector, RolloutConfig
from rollout.collection import PlayOptions
from rollout.engines import EngineConfig, Engines
from rollout.messages import Request
from rollout.pace import Pace
from rollout.policy import Exchange, Independent, Key, Policy, Session
from rollout.pool import EnvPool
from rollout.seeds import derive_seed
from rollout.transfer import Route
from rollout.types import Completion, Sampling, Task
from scripts.bench.command_line import parser, report
from scripts.bench.virtual_time import SimulatedEngine, Speed, run_virtually
from trainer.config.learner import LearnerConfig, LossConfig
from trainer.config.shape import ModelShape
from trainer.learner.driver import Learner
from trainer.setup.models import random_qwen2

WORKERS = 8
"""Processes of the worlds; each plays one turn at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is played: how long each response, and how long the world takes for it, by the request's key."""

    groups: int = 16
    group_size: int = 8
    turns: int = 50
    prompt: int = 1000
    """Tokens of a prompt: about those of ALFWorld with two past turns."""
    shared: int = 150
    """Of these, the tokens at its beginning that earlier prompts of the task had: the cache holds them."""
    length: float = 110
    """Median of a response's tokens, which are spread log-normally ..."""
    spread: float = 0.5
    longest: int = 512
    """... and cut here."""
    world_s: float = 0.005
    """Median of the seconds that a turn takes the world, spread log-normally as well."""
    seed: int = 0
    """Of both."""

    def tokens(self, key: Key) -> int:
        """Of the response to this request."""
        length = self.length * math.exp(self.spread * _normal(self.seed, "length", *key))
        return max(1, min(self.longest, round(length)))

    def world_seconds(self, key: Key) -> float:
        """Of the world's answer to it."""
        return self.world_s * math.exp(_normal(self.seed, "world", *key))


@cache
def _normal(seed: int, *words: int | str) -> float:
    return float(np.random.default_rng(derive_seed(seed, *words)).standard_normal())


Ask = Callable[[Key, bool], Awaitable[None]]
"""Sample the response to this key's prompt; the flag tells whether the cache holds what the task's prompts share."""


@dataclass(frozen=True, slots=True)
class PlannedPolicy(Independent):
    """Asks the engine for as many tokens as the plan says."""

    ask: Ask
    pace: Pace | None = None
    """The engine's; without one, requests go as they come."""
    seen: set[int] = field(default_factory=set[int])
    """The tasks whose shared tokens are in the cache."""

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        async with nullcontext() if self.pace is None else self.pace.asking(turn=key[-1]):
            cached = key[0] in self.seen
            self.seen.add(key[0])
            await self.ask(key, cached)
        nothing = np.zeros(0, np.int32)
        return Completion(
            prompt_ids=nothing,
            token_ids=nothing,
            logprobs=nothing.astype(np.float32),
            text="go",
            finish_reason="stop",
            policy_version=0,
        )


@dataclass(frozen=True, slots=True)
class Lockstep:
    """A policy whose answers come in turns: none is asked for before every live episode has asked."""

    policy: PlannedPolicy
    before_turn: Callable[[], Awaitable[None]] | None = None

    @contextmanager
    def session(self, rollouts: int) -> Generator[Session]:
        yield _LockstepSession(self, rollouts)


class _LockstepSession:
    def __init__(self, scheme: Lockstep, rollouts: int) -> None:
        self._scheme, self._live = scheme, rollouts
        self._gate, self._asked, self._answered = asyncio.Event(), 0, 0
        self._opening: asyncio.Task[None] | None = None

    def enter(self, rollouts: int) -> None:
        self._live += rollouts

    def usage(self) -> None:
        return None

    def leave(self) -> None:
        self._live -= 1
        self._open_if_full()

    async def complete(self, messages: tuple[Message, ...], before: Exchange | None, **how: Any) -> Completion:
        gate = self._gate
        self._asked += 1
        self._open_if_full()
        await gate.wait()
        return await self._scheme.policy.complete(messages, before, **how)

    def _open_if_full(self) -> None:
        if 0 < self._live <= self._asked:
            gate, self._gate, self._asked = self._gate, asyncio.Event(), 0
            self._opening = asyncio.create_task(self._open(gate))

    async def _open(self, gate: asyncio.Event) -> None:
        if self._scheme.before_turn is not None:
            await self._scheme.before_turn()
            self._scheme.policy.seen.clear()
        gate.set()


class PlannedPool:
    """Worlds that take the planned seconds and end after the planned turns, on a few workers."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.episodes = plan, 0
        self.workers = [asyncio.Lock() for _ in range(WORKERS)]

    def episode(self) -> "PlannedEpisode":
        self.episodes += 1
        return PlannedEpisode(self, self.workers[self.episodes % WORKERS])


class PlannedEpisode:
    def __init__(self, pool: PlannedPool, worker: asyncio.Lock) -> None:
        self._pool, self._worker, self._turn, self._number = pool, worker, 0, pool.episodes

    async def reset(self, task_id: str, seed: int) -> EnvStep:
        return await self._after(None)

    async def step(self, action: str) -> EnvStep:
        self._turn += 1
        return await self._after(Ending.LIMIT if self._turn == self._pool.plan.turns else None)

    async def _after(self, ending: Ending | None) -> EnvStep:
        async with self._worker:
            await asyncio.sleep(self._pool.plan.world_seconds((self._number, self._turn)))
        return EnvStep(observation="", state_key=str(self._turn), ending=ending)

    async def __aenter__(self) -> "PlannedEpisode":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


async def makespan(plan: Plan, policy: Policy) -> float:
    """Seconds of the collector for all groups of the plan."""
    collector = Collector(
        policy=policy,
        pool=cast(EnvPool, PlannedPool(plan)),
        prompter=Bare(Dialect(introduction="", grammar=lambda _: True)),
        config=RolloutConfig(history=1),
    )
    tasks = [Task(number=number, task_id=str(number), seed=0) for number in range(plan.groups)]
    options = PlayOptions(sampling=Sampling(temperature=1.0, max_tokens=plan.longest), seed=0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    collected = await collector.collect(tasks, group_size=plan.group_size, options=options)
    assert sum(len(rollout.steps) for group in collected.groups for rollout in group.trajectories) == (
        plan.groups * plan.group_size * plan.turns
    )
    return loop.time() - began


def simulated(plan: Plan, scheme: str, speed: Speed = Speed()) -> tuple[float, float]:  # noqa: B008  frozen
    """(makespan in seconds, share of it in which the engine was at work) of a scheme with the simulated engine."""
    engine = SimulatedEngine(speed)

    async def ask(key: Key, cached: bool) -> None:
        await engine.answer(plan.prompt - (plan.shared if cached else 0), plan.tokens(key))

    seconds = run_virtually(makespan(plan, _scheme(scheme, ask, engine.reload)))
    return seconds, engine.busy_s / seconds


def bound(plan: Plan, speed: Speed) -> float:
    """Seconds that no schedule undercuts: to compute all tokens, or to sample those of the longest episode alone."""
    episodes = itertools.product(range(plan.groups), range(plan.group_size))
    sampled = [sum(plan.tokens((*episode, turn)) for turn in range(plan.turns)) for episode in episodes]
    turns = len(sampled) * plan.turns
    prompts = turns * (plan.prompt - plan.shared) + plan.groups * plan.shared
    computed = prompts + sum(sampled) - turns  # the last token of a prompt gives the first of its response
    return max(speed.token_s * computed, (max(sampled) - plan.turns) * speed.step(1, 0))


def _scheme(name: str, ask: Ask, reload: Callable[[], Awaitable[None]]) -> Policy:
    if name in ("ours", "unpaced"):
        return PlannedPolicy(ask, Pace() if name == "ours" else None)
    return Lockstep(PlannedPolicy(ask), reload if name == "reloading" else None)


SCHEMES = ("ours", "unpaced", "lockstep", "reloading")
WINDOW = Plan()
GROWING = Plan(prompt=4000, shared=3850)
"""Prompts that go on from the last one: all but the newest turn is in the cache, where it is kept."""
CASES = (
    ("", "show two past turns", WINDOW, Speed()),
    ("append_", "grow by each turn", GROWING, Speed()),
    ("serial_", "two past turns, reads, then computes", WINDOW, Speed(overlaps=False)),
)
"""Prefix of the keys, prompts, plan and engine of each line."""
TINY = ModelShape(hidden=256, layers=4, heads=4, kv_heads=2, mlp=768, vocabulary=512, tied=True, qkv_bias=True)
REAL = Plan(groups=4, group_size=4, turns=8, prompt=200, shared=100, length=16, longest=64)


def real(plan: Plan) -> dict[str, float]:
    """Makespan in seconds of each scheme, with vLLM on the CPU and a tiny model of random weights."""
    ray_cluster.start()
    try:
        with tempfile.TemporaryDirectory(prefix="stepcredit-bench-") as name:
            random_qwen2(TINY, context=plan.prompt + plan.longest).save_pretrained(name)
            # without a tokenizer no token ends a response before its planned length
            config = EngineConfig(extra={"skip_tokenizer_init": True})
            engines = Engines(name, config, context=plan.prompt + plan.longest)
            learning = LearnerConfig(learning_rate=0.0, optimizer_steps=1, loss=LossConfig(kl_coef=0.0))
            with closing(engines), closing(Learner.start(learning, name)) as learner:
                engines.wait_ready(300)
                learner.route = Route(way="file", folder=Path(name))
                versions = itertools.count(1)
                warm = replace(plan, turns=1)  # the first calls compile
                asyncio.run(_real(warm, "ours", engines, learner, versions))
                return {s: asyncio.run(_real(plan, s, engines, learner, versions)) for s in SCHEMES}
    finally:
        ray_cluster.stop()


async def _real(plan: Plan, scheme: str, engines: Engines, learner: Learner, versions: Iterator[int]) -> float:
    async def ask(key: Key, cached: bool) -> None:
        del cached  # the engine's own cache knows
        prompt = [*_prompt(plan.shared, key[0]), *_prompt(plan.prompt - plan.shared, *key)]
        name = "-".join(map(str, (next(versions), *key)))
        await engines.remotes[0].acall("complete", Request(name, prompt, 1.0, 1.0, plan.tokens(key), 0, ()))

    async def reload() -> None:
        await asyncio.to_thread(engines.publish, learner, next(versions))

    return await makespan(plan, _scheme(scheme, ask, reload))


def _prompt(tokens: int, *key: int) -> list[int]:
    return np.random.default_rng(derive_seed(0, *key)).integers(3, TINY.vocabulary, tokens).tolist()


def main() -> None:
    """Measure what the command line asks for, print the table and the line of JSON."""
    command = parser(__doc__)
    command.add_argument("--seed", type=int, default=0, help="of the lengths of responses and of the worlds' times")
    command.add_argument("--real", action="store_true", help="ask vLLM on the CPU as well; takes minutes")
    words = command.parse_args()
    turns = 5 if words.quick else 50
    table = Table("prompts", *SCHEMES, "bound", "at work", title="seconds of a collection", title_justify="left")
    numbers: dict[str, float | None] = {}
    for prefix, what, plan, speed in CASES:
        plan = replace(plan, turns=turns, seed=words.seed)
        seconds, busy = zip(*(simulated(plan, scheme, speed) for scheme in SCHEMES), strict=True)
        least = bound(plan, speed)
        table.add_row(what, *(f"{value:.1f}" for value in (*seconds, least)), f"{100 * busy[0]:.0f} %")
        numbers |= _ratios(prefix, seconds) | {f"{prefix}vs_bound": least / seconds[0], f"{prefix}engine_busy": busy[0]}
    measured = tuple(real(REAL).values()) if words.real else None
    if measured is not None:
        table.add_row(f"vLLM here, {REAL.groups * REAL.group_size} x {REAL.turns}", *(f"{s:.1f}" for s in measured))
    Console().print(table)
    report(numbers | _ratios("cpu_", measured))


def _ratios(prefix: str, seconds: Sequence[float] | None) -> dict[str, float | None]:
    """The makespans of the other schemes over ours."""
    ours, unpaced, lockstep, reload = seconds or (None,) * len(SCHEMES)
    return {
        f"{prefix}vs_unpaced": _over(unpaced, ours),
        f"{prefix}vs_lockstep": _over(lockstep, ours),
        f"{prefix}vs_lockstep_reload": _over(reload, ours),
    }


def _over(theirs: float | None, ours: float | None) -> float | None:
    return None if theirs is None or ours is None else theirs / ours


if __name__ == "__main__":
    main()
