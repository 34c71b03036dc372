"""Worked examples: solved episodes that stand before each prompt of a style."""

from collections.abc import Sequence
from dataclasses import dataclass

from envs.base import EnvStep
from envs.prompts.messages import Message, Prompter, Reply, Turn

NOW = "Now your own task."


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShot:
    """The prompts of a style after the same examples, as ReAct's are (2210.03629). Answers are the style's own.

    The examples come first and never change, so that an engine computes them once.
    """

    inner: Prompter
    """The style."""

    examples: tuple[str, ...]
    """At least one text, see `example_text`."""

    @property
    def least_history(self) -> int:
        """That of the style."""
        return self.inner.least_history

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """The style's messages, the first of them with the examples before it."""
        opening, *others = self.inner.render(first=first, turns=turns, now=now, history=history, actions=actions)
        shown = [f"Example {number}, solved:\n\n{text}" for number, text in enumerate(self.examples, start=1)]
        return (Message(role=opening.role, content="\n\n".join([*shown, NOW, opening.content])), *others)

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """As the style lists them."""
        return self.inner.listed(now)

    def parse(self, response: str, now: EnvStep, *, truncated: bool = False) -> Reply:
        """As the style parses."""
        return self.inner.parse(response, now, truncated=truncated)

    def respond(self, action: str) -> str:
        """As the style answers."""
        return self.inner.respond(action)


def example_text(style: Prompter, steps: Sequence[tuple[str, str]]) -> str:
    """An episode as an example: what was seen, and the answer of the style that takes the action. steps: of both.

    >>> from envs import WORLDS
    >>> print(example_text(WORLDS["textcraft"].prompter("act"), [("You have nothing.", "get 1 oak log")]))
    You saw:
    You have nothing.
    You answered:
    <action>get 1 oak log</action>
    """
    return "\n".join(f"You saw:\n{seen}\nYou answered:\n{style.respond(action)}" for seen, action in steps)
