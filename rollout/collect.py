"""Policy x env -> trajectories: one asyncio task per rollout, no barrier between rollouts."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Interval, doc

from envs.base import EnvStep
from envs.prompts import Prompter
from rollout.collection import PROMPT_TOO_LONG, REPLAY_DIFFERS, Collection, Job, PlayCounts, PlayOptions
from rollout.dialogue import Dialogue
from rollout.groups import Groups
from rollout.marks import HARMLESS
from rollout.policy import Exchange, Policy, PromptTooLong, Session
from rollout.pool import EnvPool, Episode, EpisodeFailed
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Step, Task, Trajectory, Truncated
from rollout.usage import EngineUsage


class RolloutsFailed(RuntimeError):
    """Too many rollouts failed for good. The message counts failures by reason and quotes the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How rollouts are played and what happens when one fails."""

    history: Annotated[int, Ge(0), doc("0 (no past turn) or more")]
    """Number of past turns that a prompt shows. Follows env.history."""

    success_reward: Annotated[float, Interval(gt=0, lt=math.inf)] = 10.0
    """Training reward of the step that solves the task. All other steps get 0."""

    graded: bool = False
    """Whether the last step of a rollout that does not solve its task gets success_reward times the world's score, such
    as WebShop's, or the share of tests passed, instead of 0. The papers' protocols pay for success alone."""

    truncated: Truncated = "keep"
    """What happens to a response that was cut at sampling.max_tokens. "keep" judges it by what it says, "invalid"
    counts it as invalid, "mask" leaves its row out of the loss, of a critic's too (overlong filtering, DAPO
    2503.14476). An action that may be cut is never played."""

    retries: Annotated[int, Ge(0)] = field(default=2, metadata=HARMLESS)
    """How often a failed episode is played again from its seed before its group is dropped. Episodes of one task that
    kill or hang their worker share these retries; other episodes of that worker are played again free of charge."""

    max_failure_share: Annotated[float, Interval(ge=0, le=1)] = field(default=0.25, metadata=HARMLESS)
    """Largest share of dropped groups in one collection. Above it the run stops."""

    early_end: bool = field(default=False, metadata=HARMLESS)
    """Whether rollouts whose group is dropped, because another of its rollouts failed in every attempt, end at their
    next turn. No others end early: estimators take all steps of a whole group, a group is known to be without spread
    when its last rollout has ended, and dynamic sampling replaces groups one by one, so none is surplus."""

    env_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = field(default=60.0, metadata=HARMLESS)
    """Seconds that a worker may spend in one reset or step, its start included. After that it counts as hung."""

    def reward(self, after: EnvStep, *, last: bool) -> float:
        """The training reward of the step that led here. last: the rollout ends with it, by the world or as stuck."""
        if after.won:
            return self.success_reward
        return self.success_reward * after.score if self.graded and last else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The result of `Collector.collect`."""

    groups: tuple[RolloutGroup, ...]
    """Whole groups, in the order of their tasks."""
    counts: PlayCounts = field(default_factory=PlayCounts)
    """What went wrong on the way."""
    flat: tuple[RolloutGroup, ...] = ()
    """The groups without spread in whose place others are (dynamic sampling), in the order of their tasks."""
    usage: EngineUsage | None = None
    """How busy the engines were; None for a policy without engines of its own."""

    def checked(self) -> "Collected":
        """Itself. Raises RolloutsFailed if all groups were dropped: nothing is left to learn from or to measure."""
        if not self.groups:
            raise RolloutsFailed(f"all {_dropped_words(self.counts, self.counts.dropped_groups)}: mend it")
        return self


Decided = Callable[[Job], bool]
"""Says of a job whether its rollout cannot matter any more."""


def _never(_: Job) -> bool:
    return False


Ended = Callable[[Job, Trajectory | None], Sequence[Job]]
"""Takes a job and its rollout (None: it failed for good); returns jobs to play as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The result of `Collector.play`."""

    rollouts: tuple[Trajectory | None, ...]
    """In the order of the jobs; None for a rollout that failed for good."""
    counts: PlayCounts
    """What went wrong on the way."""
    usage: EngineUsage | None
    """How busy the engines were; None for a policy without engines of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Plays rollouts: consumes tasks, waits for the policy and the worlds, produces groups."""

    policy: Policy
    """Answers the prompts."""
    pool: EnvPool
    """Plays the worlds' side."""
    prompter: Prompter
    """Writes the prompts and reads the answers."""
    config: RolloutConfig
    """Retries, history and rewards."""

    async def collect(
        self,
        tasks: Sequence[Task],
        *,
        group_size: int,
        options: PlayOptions,
        spares: Sequence[Task] = (),
    ) -> Collected:
        """Roll out each task `group_size` times.

        spares: tasks that take the place of groups without spread, one each, as soon as such a group has ended, until
        there are no more; their numbers follow those of `tasks`.
        Raises RolloutsFailed as soon as more than the configured share of all groups is dropped.
        """
        groups = Groups(group_size, spares)
        jobs = [job for task in tasks for job in groups.jobs(task)]
        share = self.config.max_failure_share
        decided: Decided = groups.decided if self.config.early_end else _never
        played = await self.play(jobs, options, ended=groups.ended, decided=decided, max_failure_share=share)
        return Collected(
            groups=tuple(groups.kept), counts=played.counts, flat=tuple(groups.replaced), usage=played.usage
        )

    async def play(
        self,
        jobs: Sequence[Job],
        options: PlayOptions,
        *,
        ended: Ended = lambda _job, _trajectory: (),
        decided: Decided = _never,
        max_failure_share: float = 1.0,
        num_groups: int | None = None,
    ) -> Played:
        """Play each job to its end, and those that `ended` adds.

        ended: called with each job and its rollout; returns jobs to play as well.
        decided: asked before each turn; a rollout that cannot matter any more is not played to its end.
        max_failure_share: the share of the groups that may have a rollout that fails for good, in [0, 1].
        num_groups: of how many groups; None for as many as the jobs have tasks.
        Raises RolloutsFailed above it.
        """
        collection = Collection(retries=self.config.retries, max_failure_share=max_failure_share, num_groups=num_groups)
        with self.policy.session(len(jobs)) as session:
            player = _Player(
                collector=self, session=session, options=options, collection=collection, ended=ended, decided=decided
            )
            player.start(jobs)
            try:
                if jobs:
                    await player.over
            finally:
                player.over.cancel()
                for rollout in player.running:
                    rollout.cancel()
        rollouts = tuple(rollout.result() for rollout in player.running)
        return Played(rollouts=rollouts, counts=collection.counts(), usage=session.usage())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Player:
    """Plays the jobs of one collection."""

    collector: Collector
    session: Session
    options: PlayOptions
    collection: Collection
    ended: Ended
    decided: Decided
    running: list[asyncio.Task[Trajectory | None]] = field(default_factory=list[asyncio.Task[Trajectory | None]])
    left: set[asyncio.Task[Trajectory | None]] = field(default_factory=set[asyncio.Task[Trajectory | None]])
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when the last rollout has ended, or the first one with an error, which it raises."""

    def start(self, jobs: Sequence[Job]) -> None:
        self.collection.enter(jobs)
        for job in jobs:
            rollout = asyncio.create_task(self._rollout(job))
            self.running.append(rollout)
            self.left.add(rollout)
            rollout.add_done_callback(self._end)

    def _end(self, rollout: asyncio.Task[Trajectory | None]) -> None:
        self.left.discard(rollout)
        error = None if rollout.cancelled() else rollout.exception()
        if self.over.done():
            return
        if error is not None:
            self.over.set_exception(error)
        elif not self.left:  # a rollout that another one follows starts it before it ends
            self.over.set_result(None)

    async def _rollout(self, job: Job) -> Trajectory | None:
        try:
            trajectory = await self._tried(job)
            more = self.ended(job, trajectory)
            self.session.enter(len(more))  # before this one leaves: a wave must not go without them
            self.start(more)
            return trajectory
        finally:
            self.session.leave()

    async def _tried(self, job: Job) -> Trajectory | None:
        """Play one job to its end, again from its seed if the world failed.

        None when it failed for good, or cannot matter any more.
        """
        while self.collection.may_try(job):
            try:
                async with self.collector.pool.episode() as episode:
                    trajectory = await self._play(episode, job)
            except EpisodeFailed as error:
                self.collection.count_failure(job, error)
            else:
                if trajectory is None:
                    self.collection.count_early_end()
                else:
                    self.options.on_done(trajectory)
                return trajectory
        self._drop(job)
        return None

    def _drop(self, job: Job) -> None:
        self.collection.drop(job)
        if self.collection.exceeds_failure_share:
            raise RolloutsFailed(
                f"{_dropped_words(self.collection.counts(), self.collection.num_groups)}, more than "
                f"rollout.max_failure_share={self.collector.config.max_failure_share}: mend it or raise the share"
            )

    async def _play(self, episode: Episode, job: Job) -> Trajectory | None:
        """None for a rollout that is not played to its end."""
        first = await episode.reset(job.task.task_id, job.task.seed)
        dialogue = Dialogue(
            self.collector.prompter,
            first,
            truncated=self.collector.config.truncated,
            max_idle_turns=self.options.max_idle_turns,
        )
        for number, step in enumerate(job.resumed, start=1):
            _check_state(dialogue, step)
            if number < len(job.resumed):
                dialogue.add_again(step, await episode.step(step.action))
        if job.task_text is not None:
            dialogue.show(job.task_text)
        while not dialogue.over:
            if self.decided(job):
                return None
            exchange = await self._ask(dialogue, job)
            reply = dialogue.parse(exchange)
            after = await episode.step(reply.action)
            reward = self.collector.config.reward(after, last=dialogue.ends_with(after))
            dialogue.add(exchange, reply, after, reward=reward)
            if dialogue.time == len(job.resumed):
                dialogue.show(first.observation)
        return dialogue.trajectory(job)

    async def _ask(self, dialogue: Dialogue, job: Job) -> Exchange:
        """Ask for the next turn with the whole prompt, or with the longest one that the policy takes."""
        key = (*job.key, dialogue.time)
        seeded_by = (job.task.task_id, *key[1:]) if self.options.seeds_by_task else key
        seed = derive_seed(self.options.seed, *seeded_by)
        sampling = self.options.sampling
        too_long: PromptTooLong | None = None
        for prompt in dialogue.prompts(self.collector.config.history):
            try:
                completion = await self.session.complete(
                    prompt.messages, dialogue.previous, sampling=sampling, seed=seed, key=key
                )
            except PromptTooLong as error:
                too_long = error
                continue
            self.collection.count_prompt(cut=prompt.cut, cut_actions=prompt.cut_actions)
            return Exchange(messages=prompt.messages, completion=completion)
        raise EpisodeFailed(PROMPT_TOO_LONG, str(too_long), final=True) from too_long


def _check_state(dialogue: Dialogue, step: Step) -> None:
    """Raise EpisodeFailed where the world is not in the state in which the step was taken before."""
    if dialogue.now.ending is not None or dialogue.now.state_key != step.state_key:
        state = f"turn {dialogue.time} begins in {dialogue.now.state_key!r}, not in {step.state_key!r}"
        raise EpisodeFailed(REPLAY_DIFFERS, f"{state}: a retry needs a world that repeats itself by seed", final=True)


def _dropped_words(counts: PlayCounts, num_groups: int) -> str:
    return (
        f"{counts.dropped_groups} of {num_groups} groups dropped ({dict(counts.failures)}; the last: "
        f"{counts.last_failure})"
    )
