"""The original engine (packages alfworld and textworld): slow, and what the native one must equal."""

from collections.abc import Mapping
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
    """One game at a time in the original. One instance per process: two in two threads corrupt each other, and each
    discarded one leaves 4 MB behind."""

    def __init__(self) -> None:
        self._env: Any = AlfredDemangler(PddlEnv(EnvInfos(won=True, admissible_commands=True)))

    def reset(self, record: Mapping[str, Any]) -> Seen:
        """Start a game, given the contents of its file."""
        self._env.load(record)
        return self._seen(self._env.reset())

    def step(self, line: str) -> Seen:
        return self._seen(self._env.step(line)[0])

    def _seen(self, state: Any) -> Seen:
        return Seen(observation=state.feedback, commands=tuple(state.admissible_commands), won=bool(state.won))
