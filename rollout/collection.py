"""One collection: what is to be played, how, and the account of what went wrong."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rollout.policy import Key
from rollout.pool import ENV_TIMEOUT, WORKER_DIED, WORKER_LOST, EpisodeFailed
from rollout.types import Sampling, Step, Task, Trajectory

PROMPT_TOO_LONG = "prompt_too_long"
"""Why a rollout failed whose prompt did not fit even at its shortest."""
REPLAY_DIFFERS = "replay_differs"
"""Why a retry failed: the world answered the same actions otherwise than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One rollout to play."""

    task: Task
    """What is to be solved."""
    sibling: int
    """The rollout's number within its group."""
    key: Key
    """The rollout's own. The keys of its requests begin with it, so no two jobs of a collection share one."""
    task_text: str | None = None
    """Shown in place of the world's first observation (revisions); None keeps the observation."""
    resumed: tuple[Step, ...] = ()
    """Steps of an earlier rollout (retries): all but the last are taken again, the policy is asked in the place of the
    last, and only there is it shown `task_text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOptions:
    """How the rollouts of a collection are played."""

    sampling: Sampling
    """How tokens are drawn."""
    seed: int
    """Of the sampling. The seed of a request follows from this one and the request's key alone."""
    seeds_by_task: bool = False
    """Whether the task's id stands for the first part of the key, its number: so a task is sampled alike whatever tasks
    are played beside it."""
    max_idle_turns: int | None = None
    """A rollout ends as STUCK after so many turns in a row that left the state as it was; None: never."""
    on_done: Callable[[Trajectory], None] = lambda _: None
    """Called with each finished rollout, as it finishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedGroup:
    """The group of a task with a rollout that failed for good."""

    task: Task
    """What was to be solved."""
    reason: str
    """Why the task's latest try failed before its group was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayCounts:
    """What went wrong in one collection."""

    failures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Failed episodes by reason, whether they were played again or given up."""
    dropped: tuple[DroppedGroup, ...] = ()
    """The groups that `Collector.collect` leaves out, in the order of their tasks."""
    cut_prompts: int = 0
    """Prompts that were shortened to fit."""
    cut_actions: int = 0
    """Those of `cut_prompts` that left out admissible actions."""
    ended_early: int = 0
    """Rollouts that were not played to their end because their group was dropped already."""
    last_failure: str = ""
    """Message of the last failure that was an episode's own; "" if there was none."""

    @property
    def dropped_groups(self) -> int:
        """Tasks with a rollout that failed for good."""
        return len(self.dropped)


class Collection:
    """The account of one collection: counts failures and cut prompts, and says which job may be tried again.

    A failed rollout is played again from its seed, up to `retries` times. The siblings of one task share their retries
    if the task kills or hangs its workers. An episode that was in a worker when another's call killed or hung it is
    played again without using up a retry. This cannot go on for ever: each lost worker is charged to one task, and a
    task whose retries are used up is not started again.
    """

    def __init__(self, *, retries: int, max_failure_share: float, num_groups: int | None = None) -> None:
        self._num_groups = num_groups
        self._entered = set[int]()  # by task number
        self._retries = retries
        self._max_failure_share = max_failure_share
        self._failures: Counter[str] = Counter()
        self._own_failures: Counter[Key] = Counter()  # by job
        self._workers_lost: Counter[int] = Counter()  # by number of the task whose call killed or hung the worker
        self._reasons: dict[int, str] = {}  # of the latest failure of its own, by task number
        self._dropped: dict[int, DroppedGroup] = {}  # by task number
        self._cut_prompts = 0
        self._cut_actions = 0
        self._ended_early = 0
        self._last_failure = ""

    @property
    def num_groups(self) -> int:
        """The groups of the collection so far, those that took the place of others included."""
        return len(self._entered) if self._num_groups is None else self._num_groups

    def enter(self, jobs: Sequence[Job]) -> None:
        """Count jobs that are about to be played."""
        self._entered.update(job.task.number for job in jobs)

    def may_try(self, job: Job) -> bool:
        """Whether the job has a try left."""
        return max(self._own_failures[job.key], self._workers_lost[job.task.number]) <= self._retries

    def count_failure(self, job: Job, error: EpisodeFailed) -> None:
        """Charge a failed try to the job, and a lost worker to the task that took it down."""
        self._failures[error.reason] += 1
        if error.reason == WORKER_LOST:
            return
        self._last_failure = f"{error} (task {job.task.task_id})"
        self._reasons[job.task.number] = error.reason
        self._own_failures[job.key] += 1 + self._retries if error.final else 1
        self._workers_lost[job.task.number] += error.reason in (WORKER_DIED, ENV_TIMEOUT)

    def count_prompt(self, *, cut: bool, cut_actions: bool) -> None:
        """Count one prompt that was sent."""
        self._cut_prompts += cut
        self._cut_actions += cut_actions

    def count_early_end(self) -> None:
        """Count one rollout that is not played to its end, since its group is dropped."""
        self._ended_early += 1

    def drop(self, job: Job) -> None:
        """Give up the job, and its group with it."""
        task = job.task
        self._dropped.setdefault(task.number, DroppedGroup(task=task, reason=self._reasons[task.number]))

    @property
    def exceeds_failure_share(self) -> bool:
        """Whether more groups are dropped than may be."""
        return len(self._dropped) > self._max_failure_share * self.num_groups

    def counts(self) -> PlayCounts:
        """The account as it stands."""
        return PlayCounts(
            failures=MappingProxyType(dict(self._failures)),
            dropped=tuple(self._dropped[number] for number in sorted(self._dropped)),
            cut_prompts=self._cut_prompts,
            cut_actions=self._cut_actions,
            ended_early=self._ended_early,
            last_failure=self._last_failure,
        )
