"""Parts that stay up from one run to the next in one process, so that a run costs its updates and little else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rollout.held import StartFailed
from rollout.ray_actors import ActorDied, ActorTimeout
from rollout.ray_cluster import RayFailed
from rollout.transfer import PublishError
from trainer.config.build import ConfigError

Part = TypeVar("Part")
BROKEN = (RayFailed, StartFailed, ActorDied, ActorTimeout, PublishError)
"""Raised by `Recipe.renew` of a part that cannot serve another run."""


class LearnerLost(RuntimeError):
    """A run ended because its learner is gone. The other parts may serve the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Generic[Part]):
    """How a part of a run is started, made as new for another run, and closed."""

    name: str
    """What it is; one part of each name is kept."""
    settings: Any
    """What it is started with. Where they differ from the last run's, another part is started."""
    start: Callable[[], Part]
    """Start it."""
    renew: Callable[[Part], Part]
    """Make a part that has served a run as `start` would give it. Raises one of BROKEN where that is not possible."""
    close: Callable[[Part], None]
    """End it, and all of its processes."""
    stays: bool = True
    """Whether it may serve another run at all."""
    carries: bool = False
    """Whether the other parts run on it: they are closed before it, and are gone where it is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    """A part that waits for the next run."""

    recipe: Recipe[Any]
    part: Any

    def close(self) -> None:
        self.recipe.close(self.part)


class Kept:
    """The parts that wait for the next run, in the order in which they were put back."""

    def __init__(self) -> None:
        self._idle: dict[str, _Idle] = {}

    def take(self, recipe: Recipe[Part]) -> Part:
        """The part that the last run left, as new; one that starts now where there is none, or no such one."""
        idle = self._idle.get(recipe.name)
        if idle is not None and idle.recipe.settings == recipe.settings:
            try:
                part = recipe.renew(idle.part)
            except BROKEN:
                if recipe.carries:
                    self._idle = {recipe.name: idle}  # what ran on it is gone
            else:
                del self._idle[recipe.name]
                return part
        self._close(recipe)
        return recipe.start()

    def put_back(self, recipe: Recipe[Part], part: Part) -> None:
        """Keep a part for the next run."""
        self._idle[recipe.name] = _Idle(recipe=recipe, part=part)

    def drop(self, recipe: Recipe[Part], part: Part) -> None:
        """Close a part, and first what runs on it."""
        self.put_back(recipe, part)
        self._close(recipe)

    def close(self) -> None:
        """Close all parts in the order in which they were put back, and those that carry others at the end."""
        idle, self._idle = self._idle, {}
        with ExitStack() as stack:
            for one in reversed(sorted(idle.values(), key=lambda one: one.recipe.carries)):
                stack.callback(one.close)

    def _close(self, recipe: Recipe[Any]) -> None:
        if recipe.carries:
            self.close()
        elif (idle := self._idle.pop(recipe.name, None)) is not None:
            idle.close()


_KEPT: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """While the block runs, a run leaves its parts to the next one; at the end they are closed."""
    if _KEPT.get() is not None:
        yield
        return
    kept = Kept()
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)
        kept.close()


@contextmanager
def lent(recipe: Recipe[Part]) -> Iterator[Part]:
    """A part for the length of the block. It is closed at the end, or stays up inside `keeping`.

    After an error that is no refusal and no LearnerLost it is closed in any case: nobody knows in which state it is.
    """
    kept, stays = _KEPT.get(), False
    part = recipe.start() if kept is None else kept.take(recipe)
    try:
        yield part
        stays = recipe.stays
    except (ConfigError, LearnerLost):
        stays = recipe.stays
        raise
    finally:
        if kept is None:
            recipe.close(part)
        elif stays:
            kept.put_back(recipe, part)
        else:
            kept.drop(recipe, part)
