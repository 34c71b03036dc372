"""Sub-goals in an answer: the agent keeps the one in force or switches to another (HiPER, 2602.16165)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from envs.prompts.messages import Turn
from envs.prompts.thoughts import after_thoughts

ASK = (
    "Decide whether to keep your sub-goal or to take another, with KEEP or SWITCH inside <switch> </switch>. "
    "Write the sub-goal that you follow inside <subgoal> </subgoal>."
)
_SWITCH = re.compile(r"<switch>\s*(KEEP|SWITCH)\s*</switch>", re.IGNORECASE)
_SUBGOAL = re.compile(r"<subgoal>(.*?)</subgoal>", re.DOTALL)


def says_switch(response: str) -> bool:
    """Whether an answer says that it takes another sub-goal. One that does not say keeps it.

    >>> says_switch("<switch>SWITCH</switch>"), says_switch("<switch> keep </switch>"), says_switch("go")
    (True, False, False)
    """
    match = _SWITCH.search(after_thoughts(response))
    return match is not None and match[1].upper() == "SWITCH"


def subgoals(responses: Iterable[str]) -> Iterator[str | None]:
    """The sub-goal in force after each answer: the last that was chosen; None where none was.

    The first sub-goal that is written is chosen. Another wording without SWITCH changes nothing.
    """
    chosen = None
    for response in responses:
        match = _SUBGOAL.search(after_thoughts(response))
        if match is not None and (chosen is None or says_switch(response)):
            chosen = " ".join(match[1].split())
        yield chosen


def subgoal(turns: Sequence[Turn]) -> str | None:
    """The sub-goal in force after these turns."""
    return (None, *subgoals(turn.response for turn in turns))[-1]


def switches(responses: Sequence[str]) -> list[bool]:
    """Whether each answer of a rollout chooses another sub-goal than the one in force.

    >>> switches(["<subgoal>a</subgoal>", "<switch>SWITCH</switch>", "<switch>SWITCH</switch><subgoal>b</subgoal>"])
    [True, False, True]
    """
    return [before != after for before, after in pairwise((None, *subgoals(responses)))]
