"""The place of an engine: who asks there gets an answer, though the engine that was asked is lost."""

from typing import Any, Protocol

from rollout.messages import EngineDead
from rollout.ray_actors import ActorDied, ActorTimeout, Remote
from rollout.transfer import PublishError

# Why a request was lost, as it is counted and logged.
ENGINE_DIED = "engine_died"
"""The engine's process, or vLLM's inside it, is gone."""
ENGINE_TIMEOUT = "engine_timeout"
"""The engine did not answer in time."""
ENGINE_HALF_NEW = "engine_half_new"
"""A publish has left the engine with weights of two versions."""
LOST = {ActorDied: ENGINE_DIED, EngineDead: ENGINE_DIED, ActorTimeout: ENGINE_TIMEOUT, PublishError: ENGINE_HALF_NEW}


class EnginesLost(RuntimeError):
    """More engines were lost in one update than may be."""


class Restarter(Protocol):
    """Who owns the engines."""

    @property
    def remotes(self) -> tuple[Remote, ...]:
        """The engines as they are now."""
        ...

    async def restarted(self, number: int, engine: Remote, error: Exception) -> None:
        """Return once another engine serves in the place of this one, which `error` ended."""
        ...


class Seat:
    """Passes calls on to the engine in its place.

    A request that is lost with its engine is asked again of the next one. It carries its whole prompt and its seed, so
    the answer is the one that was lost, and no turn of a rollout is played twice.
    """

    def __init__(self, engines: Restarter, number: int) -> None:
        self._engines, self._number = engines, number

    async def acall(self, method: str, *args: Any) -> Any:
        """Call and wait. Raises EnginesLost, StartFailed, or what the method raised."""
        while True:
            engine = self._engines.remotes[self._number]
            try:
                return await engine.acall(method, *args)
            except (ActorDied, EngineDead, ActorTimeout, PublishError) as error:
                await self._engines.restarted(self._number, engine, error)


def reason_of(error: Exception) -> str:
    """The name under which a lost request is counted."""
    return next(reason for kind, reason in LOST.items() if isinstance(error, kind))
