"""Sub-goals in an answer: the agent keeps the one in force or switches to another (HiPER, 2602.16165)."""

import re
from collections.abc import Sequence

from envs.prompts.messages import Turn
from envs.prompts.thoughts import after_thoughts

ASK = (
    "Decide whether to keep your sub-goal or to take another, with KEEP or SWITCH inside <switch> </switch>. "
    "Write the sub-goal that you follow inside <subgoal> </subgoal>."
)
_SWITCH = re.compile(r"<switch>\s*(KEEP|SWITCH)\s*</switch>", re.IGNORECASE)
_SUBGOAL = re.compile(r"<subgoal>(.*?)</subgoal>", re.DOTALL)


def switches(response: str) -> bool:
    """Whether an answer takes another sub-goal. One that does not say keeps it.

    >>> switches("<switch>SWITCH</switch>"), switches("<switch> keep </switch>"), switches("go")
    (True, False, False)
    """
    match = _SWITCH.search(after_thoughts(response))
    return match is not None and match[1].upper() == "SWITCH"


def subgoal(turns: Sequence[Turn]) -> str | None:
    """The sub-goal in force after these turns: the last that was chosen; None where none was.

    The first sub-goal that is written is chosen. Another wording without SWITCH changes nothing.
    """
    chosen = None
    for turn in turns:
        match = _SUBGOAL.search(after_thoughts(turn.response))
        if match is not None and (chosen is None or switches(turn.response)):
            chosen = " ".join(match[1].split())
    return chosen
