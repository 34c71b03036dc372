"""What the prompts must know about a world."""

from collections.abc import Callable
from dataclasses import dataclass

from envs.base import EnvStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the prompts of one world are written, and which actions they accept."""

    introduction: str
    """Says who the agent is and which actions exist. Every `react` prompt begins with it."""

    grammar: Callable[[str], bool]
    """Whether a line has the form of an action, in any state. Takes microseconds."""

    lower_case: bool = False
    """Whether `react` lower-cases the action before the world gets it, as the papers do for ALFWorld."""

    hidden: frozenset[str] = frozenset()
    """Admissible actions that prompts never list."""

    many_lines: bool = False
    """Whether an action may have several lines, as a program has."""

    strict: bool = False
    """Whether only admissible actions are valid answers. Has no effect in a state whose actions are not listed."""

    def shown(self, now: EnvStep) -> tuple[str, ...]:
        """The admissible actions that are not hidden; empty where the world does not list its actions."""
        return tuple(action for action in now.admissible or () if action not in self.hidden)

    def accepts(self, action: str, now: EnvStep) -> bool:
        """Whether an answer may name this action now: in the world's grammar, in one line unless `many_lines`, and
        admissible if `strict`."""
        in_form = action != "" and (self.many_lines or "\n" not in action)
        in_grammar = in_form and self.grammar(action)
        return in_grammar and (not self.strict or now.admissible is None or action in now.admissible)
