"""What a prompt must know of a world."""

from collections.abc import Callable
from dataclasses import dataclass

from envs.base import EnvStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one world is spoken to.

    introduction: who the agent is and which actions there are. grammar: whether a line is a command at all, in
    microseconds. lower_case: the action is lower-cased, as in the papers' ALFWorld. hidden: admissible actions that are
    not listed. strict: where the world lists its admissible actions, only those are valid.
    """

    introduction: str
    grammar: Callable[[str], bool]
    lower_case: bool = False
    hidden: frozenset[str] = frozenset()
    strict: bool = False

    def shown(self, now: EnvStep) -> tuple[str, ...]:
        """What is admissible and not hidden; nothing where the world does not list its actions."""
        return tuple(action for action in now.admissible or () if action not in self.hidden)

    def is_open(self, action: str, now: EnvStep) -> bool:
        """Whether an action may be taken now, as far as this dialect asks."""
        return not self.strict or now.admissible is None or action in now.admissible
