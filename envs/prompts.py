"""Prompts: what the policy reads at each turn, and how its answer becomes an action."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Protocol

from envs.alfworld.prompt import DIALECT as ALFWORLD
from envs.arithmetic.answer import is_answer
from envs.base import EnvError, EnvStep, hint
from envs.dialect import Dialect
from envs.textcraft.commands import is_command
from envs.webshop.prompt import INTRODUCTION as WEBSHOP
from envs.webshop.prompt import is_action

_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)
_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_CHINESE = re.compile("[\u4e00-\u9fff]")
_AFTER_VERB = re.compile(r"[ \[]")  # "take mug 1 from desk 1", "click[buy now]"
_TAIL = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn taken: what was seen, what was written (verbatim), and what the world was given.

    listed: the admissible actions that there were to name, see `Prompter.listed`.
    """

    observation: str
    response: str
    action: str
    listed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a response asks the world to do, and whether it had the form that was asked for."""

    action: str
    valid: bool


class Prompter(Protocol):
    """How to ask, and how to read the answer. Holds no episode. least_history: a prompt shows no fewer past turns."""

    least_history: ClassVar[int]

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """The chat for the next turn.

        first: what reset gave. turns: all taken so far. now: what the last one led to (`first` itself before any).
        history: at most so many past turns are shown. actions: at most so many of `listed` are; None shows all.
        """
        ...

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """The admissible actions that a prompt names where there is room for all of them."""
        ...

    def parse(self, response: str, now: EnvStep) -> Reply:
        """The action in a response. Never fails: what has not the form asked for is `valid=False`."""
        ...

    def respond(self, action: str) -> str:
        """A valid response that takes the action: what a demonstration would have written."""
        ...


@dataclass(frozen=True, slots=True)
class React:
    """One user message, rebuilt at each step; the answer thinks first, then acts (GiGPO 2505.10978, appendix).

    A valid answer has both pairs of tags, no character of U+4E00-9FFF and an action that is open now, where the dialect
    asks for that; `loose`: it need not be open, as in the public code of the papers. The action is what stands between
    the first action tags; without them, as there, the last 30 characters are what the world is given.
    """

    least_history: ClassVar[int] = 0
    dialect: Dialect
    loose: bool = False

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """One user message: task, the last `history` turns, the current observation, the admissible actions."""
        parts = [self.dialect.introduction, first.observation]
        if turns:
            parts += [*_past(turns, history), f"You are at step {len(turns) + 1} and see:\n{now.observation}"]
        else:
            parts.append("You are at step 1.")
        if now.admissible is not None:
            parts.append(_choices(self.listed(now), actions))
        parts.append(
            "Reason step by step about what to do next, inside <think> </think>. "
            "Then give exactly one action, inside <action> </action>."
        )
        return (Message(role="user", content="\n\n".join(parts)),)

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """What is admissible, without what the dialect hides."""
        return self.dialect.shown(now)

    def parse(self, response: str, now: EnvStep) -> Reply:
        """What stands between the first action tags; see the class for when it is valid."""
        acted = _ACTION.search(response)
        action = (acted[1] if acted else response[-_TAIL:]).strip()
        action = action.lower() if self.dialect.lower_case else action
        tagged = acted is not None and _THINK.search(response) is not None and not _CHINESE.search(response)
        return Reply(action=action, valid=tagged and (self.loose or self.dialect.is_open(action, now)))

    def respond(self, action: str) -> str:
        """The action between its tags, after the shortest of thoughts: an expert's reasons are not known."""
        return f"<think>The next step is: {action}</think><action>{action}</action>"


@dataclass(frozen=True, slots=True)
class Bare:
    """A plain dialogue for tiny policies: observations in, bare command lines out.

    While `history` covers all turns, each prompt is the one before plus the response and the next observation, so that
    nothing is computed twice. A valid answer is one line that is a command of the world, and open now where the dialect
    asks for that. `listing`: below each observation stand the actions that were admissible there, a line each.
    """

    least_history: ClassVar[int] = 1
    dialect: Dialect
    listing: bool = False

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """The first observation, then the last `history` turns, each a response and what it led to.

        Raises ValueError for a history below 1: the current observation is the answer to the last turn shown.
        """
        if history < 1:
            raise ValueError(f"the bare prompt cannot show history={history} turns; give 1 or more")
        current = _lines(now.observation, self.listed(now), actions)
        seen = [*(_lines(turn.observation, turn.listed) for turn in turns), current]
        messages = [Message(role="user", content=seen[0] if len(turns) <= history else first.observation)]
        for turn, said in list(zip(turns, seen[1:], strict=True))[-history:]:
            messages += [Message(role="assistant", content=turn.response), Message(role="user", content=said)]
        return tuple(messages)

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """What is admissible, without what the dialect hides, where this style lists it; else the dialogue is all."""
        return self.dialect.shown(now) if self.listing else ()

    def parse(self, response: str, now: EnvStep) -> Reply:
        """The response without outer white space; see the class for when it is valid."""
        action = response.strip()
        known = "\n" not in action and self.dialect.grammar(action)
        return Reply(action=action, valid=known and self.dialect.is_open(action, now))

    def respond(self, action: str) -> str:
        """The action itself."""
        return action


DIALECTS: dict[str, Dialect] = {
    "alfworld": ALFWORLD,
    "arithmetic": Dialect(
        introduction=(
            "You answer a question in one turn. Your action is the answer and nothing else: a number such as 42 or -7, "
            "or an expression in LaTeX where no number is the answer. It has no words and no units."
        ),
        grammar=is_answer,
    ),
    "textcraft": Dialect(
        introduction=(
            "You craft items in a text world. Its commands are:\n"
            "get N ITEM: fetch an item that no command crafts.\n"
            "craft N ITEM using N ITEM, N ITEM: carry out one of the crafting commands listed below, with exactly its "
            "counts. Where it names a kind, such as planks, use one item of that kind.\n"
            "inventory: list what you hold."
        ),
        grammar=is_command,
    ),
    "webshop": Dialect(introduction=WEBSHOP, grammar=is_action, lower_case=True),
}
STYLES: dict[str, Callable[[Dialect], Prompter]] = {
    "react": React,
    "react_loose": partial(React, loose=True),
    "bare": Bare,
    "bare_listed": partial(Bare, listing=True),
}


def prompter(world: str, style: str) -> Prompter:
    """The prompts of a world in a style. Raises EnvError for a world or a style that does not exist."""
    for kind, name, known in (("world", world, DIALECTS), ("prompt style", style, STYLES)):
        if name not in known:
            raise EnvError(f"there is no {kind} {name!r}; {hint(name, sorted(known))}")
    return STYLES[style](DIALECTS[world])


def _past(turns: Sequence[Turn], history: int) -> list[str]:
    """The last turns, numbered from 1; nothing for a history of 0."""
    shown = list(enumerate(turns, start=1))[-history:] if history > 0 else []
    if not shown:
        return [f"You have taken {len(turns)} steps."]
    lines = "\n".join(
        f"Step {number}. You saw: {_brief(number, turn)!r}. You did: {turn.action!r}." for number, turn in shown
    )
    return [f"You have taken {len(turns)} steps. The last {len(shown)}:\n{lines}"]


def _choices(listed: Sequence[str], most: int | None) -> str:
    """The line that lists actions. One that leaves some out says how many."""
    kept = _kept(listed, most)
    if not kept and listed:
        return f"Admissible actions: {len(listed)}, not listed."
    shown = ", ".join(map(repr, kept))
    left_out = len(listed) - len(kept)
    return f"Admissible actions: {shown} and {left_out} more." if left_out else f"Admissible actions: {shown}."


def _lines(observation: str, listed: Sequence[str], most: int | None = None) -> str:
    """The observation, and below it the actions as a response would name them, and how many are left out."""
    kept = _kept(listed, most)
    more = [f"and {len(listed) - len(kept)} more"] if len(kept) < len(listed) else []
    return "\n".join([observation, "", *kept, *more]) if listed else observation


def _kept(listed: Sequence[str], most: int | None) -> Sequence[str]:
    """At most `most` actions, some of every verb.

    The first of each verb stay longest, then the second ones and so on, in the order of the world: of forty places to
    go to some are missed less than the only thing to take.
    """
    if most is None or most >= len(listed):
        return listed
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []
    for place, action in enumerate(listed):
        verb = _AFTER_VERB.split(action, maxsplit=1)[0]
        ranked.append((seen[verb], place))
        seen[verb] += 1
    return [listed[place] for place in sorted(place for _, place in sorted(ranked)[:most])]


def _brief(number: int, turn: Turn) -> str:
    # The first observation is the task, which stands above already.
    return "the task" if number == 1 else turn.observation
