"""The `bare` style: a plain dialogue for tiny policies; observations in, command lines out."""

from collections.abc import Sequence
from dataclasses import dataclass

from envs.base import EnvStep
from envs.prompts.actions import kept_actions
from envs.prompts.dialect import Dialect
from envs.prompts.messages import Message, Reply, Turn
from envs.prompts.thoughts import after_thoughts


@dataclass(frozen=True, slots=True)
class Bare:
    """The dialogue of an episode, as it went.

    While `history` covers all turns, each prompt is the previous prompt plus the response and the next observation, so
    that no token is computed twice. A response is valid if, without its thoughts, it is an action that the dialect
    accepts.
    """

    dialect: Dialect
    """The world that the prompts are for."""

    listing: bool = False
    """List the admissible actions below each observation, one per line (the style `bare_listed`)."""

    @property
    def least_history(self) -> int:
        """1: the observation is the answer to the last response."""
        return 1

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """The first observation, then the last `history` turns, each a response and the observation after it.

        Raises ValueError for a history below 1: the current observation is the answer to the last response shown.
        """
        if history < 1:
            raise ValueError(f"the bare prompt cannot show history={history} turns; give 1 or more")
        current = _lines(now.observation, self.listed(now), actions)
        contents = [*(_lines(turn.observation, turn.listed) for turn in turns), current]
        messages = [Message(role="user", content=contents[0] if len(turns) <= history else first.observation)]
        for turn, after in list(zip(turns, contents[1:], strict=True))[-history:]:
            messages += [Message(role="assistant", content=turn.response), Message(role="user", content=after)]
        return tuple(messages)

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """With `listing`, the admissible actions that the dialect does not hide; else none."""
        return self.dialect.shown(now) if self.listing else ()

    def parse(self, response: str, now: EnvStep, *, truncated: bool = False) -> Reply:
        """The response without thoughts and outer white space; the class docstring says when it is valid."""
        action = "" if truncated else after_thoughts(response).strip()
        return Reply(action=action, valid=self.dialect.accepts(action, now))

    def respond(self, action: str) -> str:
        """The action itself."""
        return action


def _lines(observation: str, listed: Sequence[str], most: int | None = None) -> str:
    """The observation, and below it the actions, one per line, and how many are left out."""
    kept = kept_actions(listed, most)
    more = [f"and {len(listed) - len(kept)} more"] if len(kept) < len(listed) else []
    return "\n".join([observation, "", *kept, *more]) if listed else observation
