"""Stand-ins for the parts that are slow, random or far away; small, whole, and with the real ones' interfaces.

A world that is a corridor, worlds in this process instead of a worker's, a policy that says what a script tells it,
a codec of one token a character; and short ways to write down rollouts and to compare them.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from envs import WorldSpec
from envs.base import Ending, Env, EnvError, EnvStep
from envs.prompts import Bare, Dialect, Message
from rollout.collection import PlayOptions
from rollout.messages import Answer, Request
from rollout.policy import Exchange, Independent, Key, PromptTooLong
from rollout.pool import EpisodeFailed
from rollout.types import Completion, RolloutGroup, Sampling, Step, Task, Trajectory
from trainer import checksums

SAMPLING = Sampling(temperature=1.0, max_tokens=8)


def play_options(*, seed: int = 0, max_idle_turns: int | None = None) -> PlayOptions:
    return PlayOptions(sampling=SAMPLING, seed=seed, max_idle_turns=max_idle_turns)


# --- rollouts, written down ---------------------------------------------------------------------------------------


def completion(
    text: str = "go",
    *,
    prompt: Sequence[int] = (1,),
    tokens: Sequence[int] = (7, 2),
    logprobs: Sequence[float] | None = None,
    version: int = 0,
    finish_reason: str = "stop",
) -> Completion:
    return Completion(
        prompt_ids=np.asarray(prompt, np.int32),
        token_ids=np.asarray(tokens, np.int32),
        logprobs=np.asarray([-0.5] * len(tokens) if logprobs is None else logprobs, np.float32),
        text=text,
        finish_reason=finish_reason,
        policy_version=version,
    )


def step(
    action: str = "go",
    *,
    state: str = "0",
    valid: bool = True,
    reward: float = 0.0,
    said: Completion | None = None,
    seen: str | None = None,
    milestone: int | None = None,
    step_reward: float | None = None,
    idle_turns: int = 0,
) -> Step:
    return Step(
        observation=f"at {state}" if seen is None else seen,
        completion=said or completion(action),
        action=action,
        valid=valid,
        reward=reward,
        state_key=state,
        milestone=milestone,
        step_reward=step_reward,
        idle_turns=idle_turns,
    )


def trajectory(
    *steps: Step, task_id: str = "2", sibling: int = 0, seed: int = 0, won: bool = False, score: float | None = None
) -> Trajectory:
    return Trajectory(
        task_id=task_id,
        sibling=sibling,
        seed=seed,
        steps=steps,
        ending=Ending.SUCCESS if won else Ending.LIMIT,
        success=won,
        score=float(won) if score is None else score,
    )


def group(*rollouts: Sequence[Step], task_id: str = "2", seed: int = 0, won: Sequence[bool] = ()) -> RolloutGroup:
    """Rollouts of one task, siblings in order; `won` by sibling, none by default."""
    wins = [*won, *[False] * (len(rollouts) - len(won))]
    trajectories = tuple(
        trajectory(*steps, task_id=task_id, sibling=number, seed=seed, won=wins[number])
        for number, steps in enumerate(rollouts)
    )
    return RolloutGroup(task_id=task_id, seed=seed, trajectories=trajectories)


def tasks(*task_ids: str) -> list[Task]:
    """Numbered from 0; the world's seeds count from 100."""
    return [Task(number=number, task_id=task_id, seed=100 + number) for number, task_id in enumerate(task_ids)]


def plain(value: Any) -> Any:
    """Whole objects as nested tuples that `==` compares: types, dtypes and values."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, tuple(value.ravel().tolist())
    if is_dataclass(value):
        return type(value).__name__, tuple((field.name, plain(getattr(value, field.name))) for field in fields(value))
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return (type(value).__name__, value) if isinstance(value, Enum) else value


# --- a world ------------------------------------------------------------------------------------------------------


class Corridor:
    """Task "3" is won by three `go`; `stop` loses; anything else is answered and costs a turn, of which there are 6.

    The seed is where the corridor is said to be. An `Env`.
    """

    LIMIT = 6

    def __init__(self) -> None:
        self._goal: int | None = None

    def tasks(self, split: str) -> Sequence[str]:
        splits = {"train": ("1", "2", "3", "4"), "test": ("5", "6")}
        if split not in splits:
            raise EnvError(f"no split {split!r}; choose train or test")
        return splits[split]

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        self._goal, self._place, self._turns, self._ended = int(task_id), 0, 0, False
        return EnvStep(observation=f"corridor {seed} of length {task_id}", state_key="0", milestone=0)

    def step(self, action: str) -> EnvStep:
        if self._goal is None or self._ended:
            raise EnvError("no episode under way: reset first")
        self._turns += 1
        self._place += action == "go"
        ending = None
        if self._place == self._goal:
            ending = Ending.SUCCESS
        elif action == "stop":
            ending = Ending.FAILURE
        elif self._turns == self.LIMIT:
            ending = Ending.LIMIT
        self._ended = ending is not None
        return EnvStep(
            observation=f"at {self._place}" if action in ("go", "stop") else f"{action}?",
            state_key=str(self._place),
            reward=float(ending is Ending.SUCCESS),
            ending=ending,
            won=ending is Ending.SUCCESS,
            score=self._place / self._goal,
            milestone=self._place,
        )

    def expert(self) -> Iterator[str]:
        while not self._ended:
            yield "go"

    def kind(self, task_id: str) -> str:
        return "even" if int(task_id) % 2 == 0 else "odd"

    def close(self) -> None:
        self._goal = None


class TreacherousCorridor(Corridor):
    """Tells its process for `pid` and how many of its kind that has for `made`; does not come back from `hang`.

    A reset to task "88" kills its process.
    """

    KILLS = "88"
    made = 0

    def __init__(self) -> None:
        super().__init__()
        TreacherousCorridor.made += 1

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        if task_id == self.KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset(task_id, seed=seed)

    def step(self, action: str) -> EnvStep:
        if action == "hang":
            time.sleep(3600)
        if action == "doze":
            time.sleep(2)
        if action == "broken data":
            raise EnvError(action)
        if action == "bug":
            raise ZeroDivisionError
        after = super().step(action)
        answers = {"pid": os.getpid(), "made": self.made}
        return replace(after, observation=str(answers[action])) if action in answers else after


# Named "tests.fakes:CORRIDOR" and "tests.fakes:TREACHEROUS", as a user names a world of her own.
CORRIDOR = WorldSpec(
    name="corridor",
    make=Corridor,
    dialect=Dialect(introduction="Walk.", grammar=lambda line: line in ("go", "stop")),
)
TREACHEROUS = replace(CORRIDOR, make=TreacherousCorridor)
CORRIDOR_PROMPTS = Bare(CORRIDOR.dialect)


# --- a pool -------------------------------------------------------------------------------------------------------

Hook = Callable[[str, int, int], Awaitable[None]]


async def _nothing(task_id: str, episode: int, turn: int) -> None:
    del task_id, episode, turn


class LocalPool:
    """Episodes in this process, as `EnvPool` hands them out.

    before: awaited ahead of every call with (task id, number of the episode from 1, turn; -1 for the reset). What it
    raises is what the call raises; while it waits, the call waits.
    """

    def __init__(self, make: Callable[[], Env] = Corridor, before: Hook = _nothing) -> None:
        self._make, self._before = make, before
        self.episodes = 0
        self.left: list[int] = []

    def episode(self) -> "LocalEpisode":
        self.episodes += 1
        return LocalEpisode(self, self._make(), self.episodes)

    async def before(self, task_id: str, episode: int, turn: int) -> None:
        await self._before(task_id, episode, turn)


class LocalEpisode:
    def __init__(self, pool: LocalPool, env: Env, number: int) -> None:
        self._pool, self._env, self._number, self._task_id, self._turn = pool, env, number, "", 0

    async def reset(self, task_id: str, seed: int) -> EnvStep:
        self._task_id = task_id
        await self._pool.before(task_id, self._number, -1)
        return self._env.reset(task_id, seed=seed)

    async def step(self, action: str) -> EnvStep:
        await self._pool.before(self._task_id, self._number, self._turn)
        self._turn += 1
        return self._env.step(action)

    async def __aenter__(self) -> "LocalEpisode":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.left.append(self._number)


def failing(reason: str, *, task_id: str, times: int = 1, turn: int = 0) -> Hook:
    """A hook for `LocalPool`: the first `times` episodes of a task that come to `turn` fail for `reason`."""
    failures = 0

    async def before(task: str, episode: int, at: int) -> None:
        nonlocal failures
        if task == task_id and at == turn and failures < times:
            failures += 1
            raise EpisodeFailed(reason, f"{task} in episode {episode}")

    return before


# --- a policy -----------------------------------------------------------------------------------------------------


class CharCodec:
    """One token a character. What the world says ends with a new line, what the policy says with token 0."""

    stop_ids = (0,)

    def encode(self, messages: Sequence[Message], before: Exchange | None = None) -> np.ndarray:
        del before  # characters are cut one way only, so a longer dialogue begins with the shorter one's ids anyway
        text = "".join(message.content + ("\0" if message.role == "assistant" else "\n") for message in messages)
        return np.array([ord(letter) for letter in text], np.int32)

    def encode_response(self, text: str) -> np.ndarray:
        return np.array([*map(ord, text), 0], np.int32)

    def as_sampled(self, text: str) -> str:
        return text

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in ids if token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as a policy saw it."""

    key: Key
    seed: int
    messages: tuple[Message, ...]
    before: Exchange | None
    sampling: Sampling


class ScriptedPolicy(Independent):
    """Answers `script(key)`, or `script` itself; `asked` has every request in order of arrival.

    before: awaited ahead of every answer. prompt_tokens: the longest prompt taken. codec: `CharCodec`, or a real one.
    finish_reason: of every answer. version: of the policy that answers.
    """

    def __init__(
        self,
        script: str | Callable[[Key], str] = "go",
        *,
        before: Callable[[Key], Awaitable[None]] | None = None,
        prompt_tokens: int = 10_000,
        codec: Any = None,
        finish_reason: str = "stop",
        version: Callable[[], int] = lambda: 0,
    ) -> None:
        self._script, self._before, self._prompt_tokens = script, before, prompt_tokens
        self._finish_reason, self._version = finish_reason, version
        self._codec = codec or CharCodec()
        self.asked: list[Asked] = []

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        prompt = self._codec.encode(messages, before)
        if len(prompt) > self._prompt_tokens:
            raise PromptTooLong(f"prompt of {len(prompt)} tokens, the limit is {self._prompt_tokens}")
        self.asked.append(Asked(key=key, seed=seed, messages=messages, before=before, sampling=sampling))
        if self._before is not None:
            await self._before(key)
        text = self._script if isinstance(self._script, str) else self._script(key)
        tokens = self._codec.encode_response(text).tolist()
        return completion(
            text,
            prompt=prompt.tolist(),
            tokens=tokens,
            finish_reason=self._finish_reason,
            version=self._version(),
        )


# --- an engine ----------------------------------------------------------------------------------------------------


class ScriptedEngine:
    """What `EnginePolicy` and `WavePolicy` call in an actor, in this process.

    waves: the request names of each wave. asked: the requests that came one by one.
    """

    def __init__(self, script: str | Callable[[Key], str] = "go") -> None:
        self._script = script
        self.waves: list[list[str]] = []
        self.asked: list[Request] = []
        self.fail: Exception | None = None
        self.cached = 0  # tokens that it finds of each prompt
        self.bad: dict[Key, tuple[float, int]] = {}  # key -> a log-prob that is no number, and for how many tries

    async def acall(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        del timeout_s
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        if method == "complete":
            self.asked.append(args[0])
            return self._answer(args[0])
        if method == "complete_wave":
            self.waves.append([request.name for request in args[0]])
            return [self._answer(request) for request in args[0]]
        raise AssertionError(f"the fake engine has no method {method}")

    def _answer(self, request: Request) -> Answer:
        key = tuple(int(part) for part in request.name.split("-")[:-1])
        text = self._script if isinstance(self._script, str) else self._script(key)
        ids = CharCodec().encode_response(text).tolist()
        logprobs = [-0.5] * len(ids)
        if self.bad.get(key, (0.0, 0))[1]:
            logprobs[-1], tries = self.bad[key]
            self.bad[key] = logprobs[-1], tries - 1
        return Answer(ids, logprobs, "stop", 0, self.cached)


# --- a learner ----------------------------------------------------------------------------------------------------


class FolderLearner:
    """The part of a learner that checkpoints see: its whole state is one word, kept in two files."""

    def __init__(self, word: str = "") -> None:
        self.word = word

    fault: str | None = None
    """What its next write fails of, when half of it is written."""
    written_by = 1
    """How many ranks wrote what it loads."""

    def begin_save(self, folder: Path, *, export: bool) -> int:
        files = [folder / "learner" / "rank0.pt"] + [folder / "model" / "config.json"] * export
        for file in files:
            file.parent.mkdir()
            file.write_text(self.word)
        if self.fault is None:
            checksums.write_part(folder, 0, files)
        return 1

    def save_fault(self, *, wait: bool) -> str | None:
        return self.fault

    def load(self, folder: Path, *, converted_in: Path | None = None) -> int:
        self.word = (folder / "learner" / "rank0.pt").read_text()
        return self.written_by
