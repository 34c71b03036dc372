"""The `react` style: one message per turn, rebuilt from scratch; the answer thinks first, then acts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from envs.base import EnvStep
from envs.prompts.actions import kept_actions
from envs.prompts.dialect import Dialect
from envs.prompts.messages import Message, Reply, Turn
from envs.prompts.subgoals import ASK, subgoal
from envs.prompts.thoughts import after_thoughts, has_thought

_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)
_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_INNER_ACTION = re.compile(r"<action>((?:(?!<action>).)*?)</action>", re.DOTALL)  # the last <action> before a </action>
_CHINESE = re.compile("[\u4e00-\u9fff]")
_TAIL = 30  # characters
_THINK_AND_ACT = (
    "Reason step by step about what to do next, inside <think> </think>. "
    "Then give exactly one action, inside <action> </action>."
)
_ACT = "Give exactly one action, inside <action> </action>."


@dataclass(frozen=True, slots=True)
class React:
    """The prompts of the papers (GiGPO 2505.10978, appendix).

    A response is valid if it has a closed thought, no character of U+4E00-9FFF, and, between action tags outside the
    thought, an action that the dialect accepts. The action is the text between the first such tags. Without any, the
    world gets the last 30 characters of the response, or the empty line if the response is truncated.
    """

    dialect: Dialect
    """The world that the prompts are for."""

    loose: bool = False
    """Parse as the papers' public code does: the first action tags count, also inside a thought, and any text between
    them is a valid action."""

    thinks: bool = True
    """Ask for a thought before the action, and require one. Without, it is the plain prompting that ReAct (2210.03629)
    is compared with: the same message, which asks for the action alone."""

    subgoals: bool = False
    """Ask, after the thought, for KEEP or SWITCH and for a sub-goal (HiPER, 2602.16165), and show the one in force. An
    answer without them is as valid as one with them, and keeps the sub-goal."""

    @property
    def least_history(self) -> int:
        """0: the prompt shows the observation by itself."""
        return 0

    def render(
        self, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int, actions: int | None = None
    ) -> tuple[Message, ...]:
        """One user message: the task, the last `history` turns, the observation and the admissible actions."""
        parts = [self.dialect.introduction, first.observation]
        if turns:
            parts += [*_past(turns, history), f"You are at step {len(turns) + 1} and see:\n{now.observation}"]
        else:
            parts.append("You are at step 1.")
        if now.admissible is not None:
            parts.append(_choices(self.listed(now), actions))
        if self.subgoals:
            parts += [f"Your sub-goal: {subgoal(turns) or 'none yet'}", ASK]
        parts.append(_THINK_AND_ACT if self.thinks else _ACT)
        return (Message(role="user", content="\n\n".join(parts)),)

    def listed(self, now: EnvStep) -> tuple[str, ...]:
        """The admissible actions that the dialect does not hide."""
        return self.dialect.shown(now)

    def parse(self, response: str, now: EnvStep, *, truncated: bool = False) -> Reply:
        """The text between the first action tags that count; the class docstring says when it is valid."""
        if self.loose:
            return self._parse_as_the_papers(response, truncated)
        match = _INNER_ACTION.search(after_thoughts(response))
        if match is None:
            return Reply(action="" if truncated else self._line(response[-_TAIL:]), valid=False)
        action = self._line(match[1])
        formed = (has_thought(response) or not self.thinks) and not _CHINESE.search(response)
        return Reply(action=action, valid=formed and self.dialect.accepts(action, now))

    def _parse_as_the_papers(self, response: str, truncated: bool) -> Reply:
        match = _ACTION.search(response)
        if match is None:
            return Reply(action="" if truncated else self._line(response[-_TAIL:]), valid=False)
        formed = _THINK.search(response) is not None and not _CHINESE.search(response)
        return Reply(action=self._line(match[1]), valid=formed)

    def _line(self, text: str) -> str:
        line = text.strip()
        return line.lower() if self.dialect.lower_case else line

    def respond(self, action: str) -> str:
        """The action in its tags, after one short thought if one is asked for: an expert's reasons are not known.

        Nor are its sub-goals: with `subgoals` it follows the task.
        """
        if not self.thinks:
            return f"<action>{action}</action>"
        step = "to write the program" if self.dialect.many_lines else action
        goal = "<switch>KEEP</switch><subgoal>solve the task</subgoal>" if self.subgoals else ""
        return f"<think>The next step is: {step}</think>{goal}<action>{action}</action>"


def _past(turns: Sequence[Turn], history: int) -> list[str]:
    """How many turns were taken, and the last `history` of them, numbered from 1."""
    shown = list(enumerate(turns, start=1))[-history:] if history > 0 else []
    if not shown:
        return [f"You have taken {len(turns)} steps."]
    lines = "\n".join(
        f"Step {number}. You saw: {_brief(number, turn)!r}. You did: {turn.action!r}." for number, turn in shown
    )
    return [f"You have taken {len(turns)} steps. The last {len(shown)}:\n{lines}"]


def _choices(listed: Sequence[str], most: int | None) -> str:
    """The line that lists the actions and says how many it leaves out."""
    kept = kept_actions(listed, most)
    if not kept and listed:
        return f"Admissible actions: {len(listed)}, not listed."
    shown = ", ".join(map(repr, kept))
    left_out = len(listed) - len(kept)
    return f"Admissible actions: {shown} and {left_out} more." if left_out else f"Admissible actions: {shown}."


def _brief(number: int, turn: Turn) -> str:
    # The first observation is the task, which the prompt already shows above.
    return "the task" if number == 1 else turn.observation
