"""The original engine (packages alfworld and textworld): slow, and the reference for the native one."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from envs.base import EnvError

try:
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    from textworld import EnvInfos  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    from textworld.envs.pddl import PddlEnv  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
except ImportError as missing:
    raise EnvError(
        f"engine='textworld' needs packages that are not installed ({missing}): pip install alfworld==0.4.2, "
        "or play with engine='native'"
    ) from missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The original's answer to one command."""

    observation: str
    """Its text."""

    commands: tuple[str, ...]
    """The admissible commands."""

    won: bool
    """Whether the goal holds."""


class TextWorldEngine:
    """One game at a time in the original.

    Use all instances of a process in one thread: they share a parser that is not thread-safe. Each instance that is
    dropped leaks 4 MB.
    """

    def __init__(self) -> None:
        self._env: Any = AlfredDemangler(PddlEnv(EnvInfos(won=True, admissible_commands=True)))

    def reset(self, record: Mapping[str, Any]) -> Reply:
        """Start a game, given the contents of its file. Raises EnvError for any error in the original."""
        with _named("this game"):
            self._env.load(record)
            return _reply(self._env.reset())

    def step(self, line: str) -> Reply:
        """Execute a command. Raises EnvError for any error in the original."""
        with _named(repr(line)):
            return _reply(self._env.step(line)[0])


def _reply(state: Any) -> Reply:
    return Reply(observation=state.feedback, commands=tuple(state.admissible_commands), won=bool(state.won))


@contextmanager
def _named(what: str) -> Generator[None]:
    try:
        yield
    except Exception as error:  # foreign code may raise anything; only this episode fails, not the run
        raise EnvError(f"the original engine failed on {what} ({error!r}); play with engine='native'") from error
