"""The records that prompts are made of, and the interface of a prompt style."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from envs.base import EnvStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat."""

    role: Literal["user", "assistant"]
    """Who speaks: "user" is the world, "assistant" is the policy."""

    content: str
    """The text, without any chat template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One past turn of an episode."""

    observation: str
    """The text the agent saw before it acted."""

    response: str
    """The agent's answer, verbatim."""

    action: str
    """The action the world was given, taken from the response."""

    listed: tuple[str, ...] = ()
    """The admissible actions that `Prompter.listed` gave for this turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response, parsed."""

    action: str
    """The action for the world. It is taken also when the response is not valid; then it may be empty."""

    valid: bool
    """Whether the response had the required form."""


class Prompter(Protocol):
    """A prompt style for one world: it writes the prompt of each turn and parses the answer. It holds no episode."""

    @property
    def least_history(self) -> int:
        """The smallest number of past turns that a prompt of this style can show."""
        ...

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """The chat for the next turn.

        first: what `reset` returned. turns: all past turns. now: what the last turn returned (`first` before any).
        history: show at most this many past turns. actions: list at most this many of `listed`; None lists all.
        """
        ...

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """The admissible actions that the prompt lists when there is room for all of them."""
        ...

    def parse(self, response: str, now: EnvStep, *, truncated: bool = False) -> Reply:
        """The action in a response. Never raises: a response without the required form has `valid=False`.

        truncated: the response ended at its longest length, so that its last word may be half a word. An action that
            may be cut is no action: the world gets the empty line.
        """
        ...

    def respond(self, action: str) -> str:
        """A valid response that takes the action, for demonstrations."""
        ...
