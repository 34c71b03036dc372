"""The groups of a collection: which rollouts make one, and which tasks take the place of groups without spread."""

from collections import defaultdict
from collections.abc import Sequence

from rollout.collection import Job
from rollout.types import RolloutGroup, Task, Trajectory


class Groups:
    """Puts finished rollouts together. A group with a failed rollout is left out.

    Dynamic sampling (DAPO 2503.14476): a group without spread is replaced by the next spare task, if there is one. So
    neither the tasks that are played nor the groups that are kept depend on which rollouts end first.
    """

    def __init__(self, size: int, spares: Sequence[Task] = ()) -> None:
        """size: rollouts of each task."""
        self._size = size
        self._spares = iter(spares)
        self._members: defaultdict[int, dict[int, Trajectory | None]] = defaultdict(dict)  # by task number and sibling
        self._whole: dict[int, RolloutGroup] = {}  # by task number
        self._num_replaced = 0

    @property
    def kept(self) -> list[RolloutGroup]:
        """The whole groups that nothing has replaced, in the order of their tasks."""
        replaced = self._replaced()
        return [group for number, group in sorted(self._whole.items()) if number not in replaced]

    @property
    def replaced(self) -> list[RolloutGroup]:
        """Those without spread that another task has replaced, in the order of their tasks."""
        return [self._whole[number] for number in self._replaced()]

    def jobs(self, task: Task) -> list[Job]:
        """The rollouts of a task."""
        return [Job(task=task, sibling=sibling, key=(task.number, sibling)) for sibling in range(self._size)]

    def decided(self, job: Job) -> bool:
        """Whether the group of a job will be left out, however its other rollouts end: one of them failed for good."""
        return None in self._members[job.task.number].values()

    def ended(self, job: Job, trajectory: Trajectory | None) -> list[Job]:
        """Take a finished rollout, or None for one that failed for good. Returns the jobs to play as well."""
        members = self._members[job.task.number]
        members[job.sibling] = trajectory
        whole = tuple(member for _, member in sorted(members.items()) if member is not None)
        if len(whole) < self._size:
            return []
        group = RolloutGroup(task_id=job.task.task_id, seed=job.task.seed, trajectories=whole)
        self._whole[job.task.number] = group
        spare = None if group.has_spread else next(self._spares, None)
        self._num_replaced += spare is not None
        return [] if spare is None else self.jobs(spare)

    def _replaced(self) -> list[int]:
        """The tasks of the groups that are replaced: where spares do not do for all without spread, the first ones."""
        flat = [number for number, group in sorted(self._whole.items()) if not group.has_spread]
        return flat[: self._num_replaced]
