"""Expert demonstrations: played in the world, kept as text, turned into supervised rows."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from envs.base import Env, EnvStep
from envs.prompts import Message, Prompter, Turn
from rollout.seeds import derive_seed
from trainer.config.build import ConfigError
from trainer.data.codec import ChatCodec
from trainer.data.columns import pack
from trainer.data.tokens import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStep:
    """What was seen and what was done. by_expert: False for a mistake put before the expert's next action."""

    observation: str
    action: str
    admissible: tuple[str, ...] | None
    by_expert: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One episode of the expert. won: whether it solved the task."""

    task_id: str
    seed: int
    won: bool
    steps: tuple[DemoStep, ...]


def demonstrate(env: Env, task_ids: Iterable[str], *, seed: int, mistakes: float = 0.0) -> Iterator[Demo]:
    """Play the expert on every task once; the world's seed is derived from `seed` and the task.

    mistakes: probability that a mistake is made where the expert is about to act; it goes on from what comes of it.
    """
    for task_id in task_ids:
        world_seed = derive_seed(seed, "demo", task_id)
        rng = random.Random(derive_seed(seed, "mistakes", task_id))
        now = env.reset(task_id, seed=world_seed)
        expert, steps = env.expert(), list[DemoStep]()
        while now.ending is None and (action := next(expert, None)) is not None:
            by_expert = rng.random() >= mistakes
            if not by_expert:
                action, expert = _mistaken(action, rng), env.expert()
            steps.append(
                DemoStep(observation=now.observation, action=action, admissible=now.admissible, by_expert=by_expert)
            )
            now = env.step(action)
        yield Demo(task_id=task_id, seed=world_seed, won=now.won, steps=tuple(steps))


def _mistaken(action: str, rng: random.Random) -> str:
    """The action with one of its numbers off by one, or without one of its words where it has no number."""
    numbers = list(re.finditer(r"\d+", action))
    if numbers:
        number = rng.choice(numbers)
        off = max(1, int(number[0]) + rng.choice((-1, 1)))
        return f"{action[: number.start()]}{off}{action[number.end() :]}"
    words = action.split()
    words.pop(rng.randrange(len(words)))
    return " ".join(words)


def rows(demo: Demo, prompter: Prompter, *, history: int) -> Iterator[tuple[tuple[Message, ...], str]]:
    """(prompt, response) of every step, rendered exactly as a rollout would."""
    turns: list[Turn] = []
    seen = [EnvStep(observation=step.observation, state_key="", admissible=step.admissible) for step in demo.steps]
    for now, step in zip(seen, demo.steps, strict=True):
        response = prompter.respond(step.action)
        yield prompter.render(first=seen[0], turns=turns, now=now, history=history), response
        listed = prompter.listed(now)
        turns.append(Turn(observation=step.observation, response=response, action=step.action, listed=listed))


def corpus(env: Env, task_ids: Sequence[str], prompter: Prompter, *, history: int) -> list[str]:
    """Every distinct text that the world writes and the expert answers: what a tiny policy's tokenizer is trained on.

    Each task is played a second time with the wrong actions: what a world says to errors is most of what an untrained
    policy reads.
    """
    demos = list(demonstrate(env, task_ids, seed=0))
    texts: dict[str, None] = {}
    for demo, neighbour in zip(demos, [*demos[1:], *demos[:1]], strict=True):
        for messages, response in rows(demo, prompter, history=history):
            texts.update(dict.fromkeys(message.content for message in messages))
            texts[response] = None
        env.reset(demo.task_id, seed=demo.seed)
        for action in _wrong([step.action for step in neighbour.steps]):
            answer = env.step(action)
            texts[answer.observation] = None
            if answer.ending is not None:
                break
    return list(texts)


def _wrong(actions: Sequence[str]) -> Iterator[str]:
    """A plan with each number one too high, from its end, and each action with the first word of another."""
    for action in actions:
        yield re.sub(r"\d+", lambda number: str(int(number[0]) + 1), action)
    backwards = actions[::-1]
    yield from backwards
    for one, other in zip(backwards, actions, strict=True):
        yield " ".join([other.split()[0], *one.split()[1:]])


def supervised(demos: Sequence[Demo], prompter: Prompter, codec: ChatCodec, *, history: int) -> TokenBatch:
    """The expert's steps of all demonstrations as rows; prompts are the rollout's, responses end the turn."""
    table = [
        (number, time, codec.encode(messages), codec.encode_response(response))
        for number, demo in enumerate(demos)
        for time, (messages, response) in enumerate(rows(demo, prompter, history=history))
        if demo.steps[time].by_expert
    ]
    return pack(
        [prompt for _, _, prompt, _ in table],
        [response for *_, response in table],
        trajectory=[number for number, *_ in table],
        time=[time for _, time, *_ in table],
    )


def write(demos: Iterable[Demo], path: Path) -> int:
    """One JSON object a line, renamed into place when complete. Returns how many."""
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
    """Raises ConfigError for a missing file and for a line that is no demonstration."""
    if not path.is_file():
        raise ConfigError(f"no demonstrations at {path}: write them with stepcredit demos output={path}")
    demos: list[Demo] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
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
            demos.append(Demo(task_id=record["task_id"], seed=record["seed"], won=record["won"], steps=steps))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} line {number} is no demonstration ({error!r}): write the file anew") from error
    return demos
