"""The original engine (packages alfworld and textworld): slow, and what the native one must equal."""

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
class Seen:
    """What the original answered."""

    observation: str
    commands: tuple[str, ...]
    won: bool


class TextWorldEngine:
    """One game at a time in the original.

    All instances of a process belong in one thread, where they leave each other alone: they share a parser, which two
    threads corrupt for each other. Each discarded one leaves 4 MB behind.
    """

    def __init__(self) -> None:
        self._env: Any = AlfredDemangler(PddlEnv(EnvInfos(won=True, admissible_commands=True)))

    def reset(self, record: Mapping[str, Any]) -> Seen:
        """Start a game, given the contents of its file. Raises EnvError for whatever goes wrong in the original."""
        with _named("this game"):
            self._env.load(record)
            return _seen(self._env.reset())

    def step(self, line: str) -> Seen:
        """Carry out a command. Raises EnvError for whatever goes wrong in the original."""
        with _named(repr(line)):
            return _seen(self._env.step(line)[0])


def _seen(state: Any) -> Seen:
    return Seen(observation=state.feedback, commands=tuple(state.admissible_commands), won=bool(state.won))


@contextmanager
def _named(what: str) -> Generator[None]:
    try:
        yield
    except Exception as error:  # somebody else's program: it raises what it likes, and one episode is lost, not the run
        raise EnvError(f"the original engine failed on {what} ({error!r}); play with engine='native'") from error
