"""An optional base class for worlds whose whole episode is one immutable record."""

from typing import ClassVar, Generic, Protocol, TypeVar

from envs.base import EnvError, EnvStep


class Point(Protocol):
    """What `Episode` needs of a snapshot. Any frozen dataclass with these two fields will do."""

    @property
    def task_id(self) -> str:
        """The task that is played."""
        ...

    @property
    def last(self) -> EnvStep:
        """What the last `reset` or `step` returned."""
        ...


S = TypeVar("S", bound=Point)


class Episode(Generic[S]):
    """Holds the episode's snapshot: implements `snapshot`, `restore` and `close`, and refuses steps out of turn.

    A world derives from `Episode[ItsSnapshot]`, states its `name`, and writes `reset` and `step` as
    `return self.restore(NEW_SNAPSHOT)`. `Env` stays a protocol: a world need not use this class.
    """

    name: ClassVar[str]
    """What error messages call the world."""

    _now: S | None = None

    def snapshot(self) -> S:
        """The whole episode at this point. Raises EnvError if no episode is under way."""
        if self._now is None:
            raise EnvError(f"no episode is under way; reset {self.name} with a task id first")
        return self._now

    def restore(self, snapshot: S) -> EnvStep:
        """Continue from a snapshot, and return the step after which it was taken."""
        self._now = snapshot
        return snapshot.last

    def close(self) -> None:
        """Forget the episode. What is shared by all episodes of the process stays."""
        self._now = None

    def playing(self) -> S:
        """The snapshot to take a step from. Raises EnvError if no episode is under way or the episode ended."""
        now = self.snapshot()
        if now.last.ending is not None:
            raise EnvError(f"the episode of {now.task_id} ended ({now.last.ending}); reset before the next step")
        return now

    def is_over(self) -> bool:
        """Whether the episode ended. Raises EnvError if no episode is under way."""
        return self.snapshot().last.ending is not None
