"""The world in text: what one turn returns, how an episode ends, and what every world offers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Ending(StrEnum):
    """Why an episode is over."""

    SUCCESS = "success"  # the task is solved
    FAILURE = "failure"  # the world ended the episode without success (WebShop: bought the wrong thing)
    LIMIT = "limit"  # the step limit came first
    STUCK = "stuck"  # whoever played gave up, as nothing changed any more; no world says this


class EnvError(RuntimeError):
    """A world that cannot go on: broken data, a step after the end, a task id it does not have."""


def hint(wrong: str, known: Iterable[str]) -> str:
    """The end of a refusal: the known name nearest to the wrong one, or all of them in their order.

    >>> hint("spilt", ["split"]), hint("x", ["b", "a"])
    ("did you mean 'split'?", 'choose one of b, a')
    """
    known = list(known)
    near = get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvStep:
    """What the agent gets back from `reset` or `step`.

    observation: the original environment's text, unchanged.
    state_key: the anchor; steps of one task with equal keys count as one state. Where it is the observation, what was
        not shown may differ.
    reward: the original's (1 on success; WebShop: the score at the purchase). The training reward is the rollout's.
    ending: None while the episode goes on.
    admissible: the actions the world would accept now, or None where it does not list them.
    won, score: solved or not; progress in [0, 1].

    >>> EnvStep(observation="Got 1 oak log", state_key="[oak log] (1)").ending is None
    True
    """

    observation: str
    state_key: str
    reward: float = 0.0
    ending: Ending | None = None
    admissible: tuple[str, ...] | None = None
    won: bool = False
    score: float = 0.0

    def __post_init__(self) -> None:
        if self.won != (self.ending is Ending.SUCCESS):
            raise ValueError(f"won={self.won} contradicts ending={self.ending}: a won episode ends with SUCCESS")


@runtime_checkable
class Env(Protocol):
    """One episode at a time of one world. The same task id and seed give the same episode in any process."""

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of a split, in a fixed order. Raises EnvError for a split the world does not have."""
        ...

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Start the episode. Raises EnvError for an unknown task id, after which no episode is under way."""
        ...

    def step(self, action: str) -> EnvStep:
        """One agent turn. An action the world does not understand is answered in text; after the end: EnvError."""
        ...

    def expert(self) -> Iterator[str]:
        """Actions that solve the current episode from where it stands; each is asked for after the last was taken."""
        ...

    def kind(self, task_id: str) -> str:
        """The label under which results on this task are reported, such as "depth 2"."""
        ...

    def close(self) -> None:
        """Release what the world holds."""
        ...
