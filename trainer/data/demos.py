"""Expert demonstrations: played in the world, stored as text, turned into rows for supervised training."""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from envs.base import Env, EnvStep
from envs.prompts import Prompter, Turn
from rollout.dialogue import Prompt, shorter_prompts
from rollout.revise import PROMPT, Said, revision_text
from rollout.seeds import derive_seed
from trainer.config.build import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStep:
    """One step of a demonstration."""

    observation: str
    """What the world showed before the action."""
    action: str
    """What was done."""
    admissible: tuple[str, ...] | None
    """The actions the world listed as admissible; None where it lists none."""
    by_expert: bool = True
    """False for a deliberate mistake: it is part of the history but is not learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What the expert is shown when it revises: a failed attempt and a sibling's."""

    failed: tuple[str, ...]
    """The actions of the failed attempt."""
    sibling: tuple[str, ...]
    """The actions of the other."""
    sibling_won: bool
    """Whether the other solved the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One episode of the expert."""

    task_id: str
    """The task that was played."""
    seed: int
    """The world's seed."""
    won: bool
    """Whether the episode solved the task."""
    steps: tuple[DemoStep, ...]
    """All steps, in the order they were played."""
    attempts: Attempts | None = None
    """The attempts that it revises; None for an episode that begins with the task alone."""


def demonstrate(env: Env, task_ids: Iterable[str], *, seed: int, mistakes: float = 0.0) -> Iterator[Demo]:
    """Play the expert on every task once. The world's seed is derived from `seed` and the task id.

    mistakes: the probability, at each step, that a mistaken action is played instead of the expert's; the expert
        then continues from the state the mistake led to.
    """
    for task_id in task_ids:
        world_seed = derive_seed(seed, "demo", task_id)
        rng = random.Random(derive_seed(seed, "mistakes", task_id))
        now = env.reset(task_id, seed=world_seed)
        expert, steps = env.expert(), list[DemoStep]()
        while now.ending is None and (action := next(expert, None)) is not None:
            by_expert = rng.random() >= mistakes
            if not by_expert:
                action, expert = mistaken(action, rng), env.expert()
            steps.append(
                DemoStep(observation=now.observation, action=action, admissible=now.admissible, by_expert=by_expert)
            )
            now = env.step(action)
        yield Demo(task_id=task_id, seed=world_seed, won=now.won, steps=tuple(steps))


def mistaken(action: str, rng: random.Random) -> str:
    """The action with one of its numbers off by one; if it has no number, the action without one of its words."""
    numbers = list(re.finditer(r"\d+", action))
    if numbers:
        number = rng.choice(numbers)
        off = 1 if int(number[0]) < 2 else rng.choice((-1, 1))  # numbers of a world begin at 1
        return f"{action[: number.start()]}{int(number[0]) + off}{action[number.end() :]}"
    words = action.split()
    words.pop(rng.randrange(len(words)))
    return " ".join(words)


def rendered_turns(
    demo: Demo,
    prompter: Prompter,
    *,
    history: int,
    as_sampled: Callable[[str], str] = str,
    revise_prompt: str = PROMPT,
) -> Iterator[tuple[Iterator[Prompt], str]]:
    """For each step its prompts, from the whole one to the shortest, and its response, worded as in a rollout.

    With `attempts` the episode is worded as a revision.

    as_sampled: a written response as a policy's would be decoded (`codec.ChatCodec.as_sampled`); by default as it is.
    revise_prompt: `ReviseConfig.prompt`.
    """
    turns: list[Turn] = []
    said = lambda action: Said(response=as_sampled(prompter.respond(action)), action=action)  # noqa: E731
    shown = [EnvStep(observation=step.observation, state_key="", admissible=step.admissible) for step in demo.steps]
    if demo.attempts is not None:
        task_text = revision_text(
            revise_prompt,
            task=demo.steps[0].observation,
            failed=[said(action) for action in demo.attempts.failed],
            reference=[said(action) for action in demo.attempts.sibling],
            won=demo.attempts.sibling_won,
        )
        shown[0] = replace(shown[0], observation=task_text)
    for now, step in zip(shown, demo.steps, strict=True):
        response = as_sampled(prompter.respond(step.action))
        yield shorter_prompts(prompter, first=shown[0], turns=tuple(turns), now=now, history=history), response
        actions = prompter.listed(now)
        turns.append(Turn(observation=now.observation, response=response, action=step.action, listed=actions))


def corpus(env: Env, task_ids: Sequence[str], prompter: Prompter, *, history: int) -> list[str]:
    """Every distinct text of the prompts and the expert's responses, for training a tiny policy's tokenizer.

    Each task is also played a second time with wrong actions, because an untrained policy mostly reads the world's
    answers to errors.
    """
    demos = list(demonstrate(env, task_ids, seed=0))
    texts: dict[str, None] = {}
    for demo, neighbour in zip(demos, [*demos[1:], *demos[:1]], strict=True):
        for prompts, response in rendered_turns(demo, prompter, history=history):
            texts.update(dict.fromkeys(message.content for message in next(prompts).messages))
            texts[response] = None
        env.reset(demo.task_id, seed=demo.seed)
        for action in _wrong_actions([step.action for step in neighbour.steps]):
            answer = env.step(action)
            texts[answer.observation] = None
            if answer.ending is not None:
                break
    return list(texts)


def _wrong_actions(actions: Sequence[str]) -> Iterator[str]:
    """Wrong variants of a plan: its numbers one too high; its actions backwards; their first words exchanged."""
    for action in actions:
        yield re.sub(r"\d+", lambda number: str(int(number[0]) + 1), action)
    backwards = actions[::-1]
    yield from backwards
    for action, other in zip(backwards, actions, strict=True):
        yield " ".join([other.split()[0], *action.split()[1:]])


def write(demos: Iterable[Demo], path: Path) -> int:
    """Write one JSON object per line. The file appears under its name only when complete. Returns the line count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    count = 0
    with partial.open("w") as file:
        for demo in demos:
            file.write(json.dumps(asdict(demo)) + "\n")
            count += 1
    partial.rename(path)
    return count


def read(path: Path) -> list[Demo]:
    """The demonstrations of a file. Raises ConfigError for a missing or empty file and a line that is none."""
    if not path.is_file():
        raise ConfigError(f"no demonstrations at {path}: write them with stepcredit demos output={path}")
    demos: list[Demo] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            record = json.loads(line)
            steps = tuple(
                DemoStep(
                    observation=step["observation"],
                    action=step["action"],
                    admissible=None if step["admissible"] is None else tuple(step["admissible"]),
                    by_expert=step["by_expert"],
                )
                for step in record["steps"]
            )
            raw_attempts = record.get("attempts")  # older files do not have the key
            attempts = raw_attempts and Attempts(
                failed=tuple(raw_attempts["failed"]),
                sibling=tuple(raw_attempts["sibling"]),
                sibling_won=raw_attempts["sibling_won"],
            )
            demos.append(
                Demo(task_id=record["task_id"], seed=record["seed"], won=record["won"], steps=steps, attempts=attempts)
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} line {number} is no demonstration ({error!r}): write the file anew") from error
    if not demos:
        raise ConfigError(f"{path} holds no demonstration: write the file anew with stepcredit demos output={path}")
    return demos


def _lines(path: Path) -> list[str]:
    """The lines of a file of JSON, in which only a line feed ends a line. Raises ConfigError for a file of no text."""
    try:
        lines = path.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text ({error.reason} at byte {error.start}): name a file that stepcredit demos wrote"
        ) from error
    return lines if lines[-1] else lines[:-1]
