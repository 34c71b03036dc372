"""The interface of every world: what a turn returns, how an episode ends, and what a world must offer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Ending(StrEnum):
    """Why an episode is over."""

    SUCCESS = "success"
    """The task is solved."""

    FAILURE = "failure"
    """The world ended the episode without success (WebShop: bought the wrong thing)."""

    LIMIT = "limit"
    """The step limit was reached."""

    STUCK = "stuck"
    """The rollout stopped because nothing changed any more. No world returns this."""


class EnvError(RuntimeError):
    """The world cannot continue: broken data, a step after the end, an unknown task id."""


def hint(wrong: str, names: Iterable[str]) -> str:
    """The remedy in an error message: the valid name nearest to the wrong one, else all of them in their order.

    >>> hint("spilt", ["split"]), hint("x", ["b", "a"])
    ("did you mean 'split'?", 'choose one of b, a')
    """
    names = list(names)
    near = get_close_matches(wrong, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"


def no_split(world: str, split: str, splits: Iterable[str]) -> EnvError:
    """The refusal of a split that a world does not have: the nearest one that it has, then all of them.

    >>> str(no_split("textcraft", "tset", ["train", "test"]))
    "textcraft has no split 'tset': did you mean 'test'? choose one of train, test"
    """
    splits = list(splits)
    near = get_close_matches(split, splits, n=1)
    question = f" did you mean {near[0]!r}?" if near else ""
    return EnvError(f"{world} has no split {split!r}:{question} choose one of {', '.join(splits)}")


def whole(text: str) -> str:
    """The text with U+FFFD in place of each half of a character, as scraped pages and errors of programs hold some.

    >>> whole("a\\ud800"), whole("\\ud83d\\ude00") == "\\U0001f600", whole("naïve")
    ('a\N{REPLACEMENT CHARACTER}', True, 'naïve')
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvStep:
    """What `reset` and `step` return.

    >>> EnvStep(observation="Got 1 oak log", state_key="[oak log] (1)").ending is None
    True
    """

    observation: str
    """The original environment's text, unchanged but for half characters: no tokenizer takes them (see `whole`)."""

    state_key: str
    """The anchor: steps of one task with equal keys count as one state. If a world uses the observation as key, states
    that differ only in what was not shown share a key."""

    reward: float = 0.0
    """The original's reward: 1 on success; WebShop: the score at the purchase. Training computes its own."""

    ending: Ending | None = None
    """Why the episode ended; None while it continues."""

    admissible: tuple[str, ...] | None = None
    """The actions the world accepts now; None if it does not list them."""

    won: bool = False
    """Whether the task is solved."""

    score: float = 0.0
    """Progress in [0, 1]."""

    milestone: int | None = None
    """Sub-goals that the episode has reached so far; it never falls. None if the world counts none. It is recorded for
    credit, and no prompt shows it."""

    def __post_init__(self) -> None:
        if self.won != (self.ending is Ending.SUCCESS):
            raise ValueError(f"won={self.won} contradicts ending={self.ending}: a won episode ends with SUCCESS")
        object.__setattr__(self, "observation", whole(self.observation))
        object.__setattr__(self, "state_key", whole(self.state_key))


@runtime_checkable
class Env(Protocol):
    """One world, one episode at a time. The same task id and seed give the same episode in every process."""

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of a split, in a fixed order. Raises EnvError for a split the world does not have."""
        ...

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Start an episode. Raises EnvError for an unknown task id; no episode is under way then."""
        ...

    def step(self, action: str) -> EnvStep:
        """Take one agent turn. The text answers an action that makes no sense. Raises EnvError after the end."""
        ...

    def expert(self) -> Iterator[str]:
        """Actions that solve the episode from here. Take each one before you ask for the next."""
        ...

    def kind(self, task_id: str) -> str:
        """The label under which results on this task are reported, such as "depth 2"."""
        ...

    def close(self) -> None:
        """Forget the episode and release what it holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a task is, apart from its name."""

    content: Mapping[str, Any]
    """Plain JSON values. Tasks with equal contents play alike under equal options and seeds."""

    facts: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    """What every result on the task must be read with, such as {"products": 1000}."""


@runtime_checkable
class Defining(Protocol):
    """A world that can define its tasks. `Env` does not require it: see `envs.panel`."""

    def definition(self, task_id: str) -> Definition:
        """What the task is. Raises EnvError for an unknown task id."""
        ...
