"""Policy x env -> trajectories: one asyncio task per rollout, no barrier between rollouts."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from annotated_types import Ge, Interval, doc

from envs.prompts import Prompter
from rollout.collection import PROMPT_TOO_LONG, Collection, Job, PlayCounts, PlayOptions
from rollout.dialogue import Dialogue
from rollout.policy import Exchange, Policy, PromptTooLong, Session
from rollout.pool import EnvPool, Episode, EpisodeFailed
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Task, Trajectory, Truncated


class RolloutsFailed(RuntimeError):
    """Too many rollouts failed for good. The message counts failures by reason and quotes the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How rollouts are played and what happens when one fails."""

    history: Annotated[int, Ge(0), doc("0 (no past turn) or more")]
    """Number of past turns that a prompt shows. Follows env.history."""

    success_reward: Annotated[float, Interval(gt=0, lt=math.inf)] = 10.0
    """Training reward of the step that solves the task. All other steps get 0."""

    truncated: Truncated = "keep"
    """What happens to a response that was cut at sampling.max_tokens. "keep" judges it by what it says, "invalid"
    counts it as invalid, "mask" leaves its row out of the loss (overlong filtering, DAPO 2503.14476). An action that
    may be cut is never played."""

    retries: Annotated[int, Ge(0)] = 2
    """How often a failed episode is played again from its seed before its group is dropped. Episodes of one task that
    kill or hang their worker share these retries; other episodes of that worker are played again free of charge."""

    max_failure_share: Annotated[float, Interval(ge=0, le=1)] = 0.25
    """Largest share of dropped groups in one collection. Above it the run stops."""

    env_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 60.0
    """Seconds that a worker may spend in one reset or step, its start included. After that it counts as hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The result of `Collector.collect`."""

    groups: tuple[RolloutGroup, ...]
    """Whole groups, in the order of their tasks."""
    counts: PlayCounts = field(default_factory=PlayCounts)
    """What went wrong on the way."""

    def checked(self) -> "Collected":
        """Itself. Raises RolloutsFailed if all groups were dropped: nothing is left to learn from or to measure."""
        if not self.groups:
            raise RolloutsFailed(f"all {_dropped_words(self.counts, self.counts.dropped_groups)}: mend it")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The result of `Collector.play`."""

    rollouts: tuple[Trajectory | None, ...]
    """In the order of the jobs; None for a rollout that failed for good."""
    counts: PlayCounts
    """What went wrong on the way."""


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
        finished: Sequence[RolloutGroup] = (),
    ) -> Collected:
        """Roll out each task `group_size` times.

        finished: groups from a collection that was cut short; those of these tasks are taken as they are.
        Raises RolloutsFailed as soon as more than the configured share of all groups is dropped.
        """
        places = {(task.task_id, task.seed): place for place, task in enumerate(tasks)}
        kept = {(group.task_id, group.seed): group for group in finished if (group.task_id, group.seed) in places}
        left = [task for task in tasks if (task.task_id, task.seed) not in kept]
        jobs = [
            Job(task=task, sibling=sibling, key=(task.number, sibling))
            for task in left
            for sibling in range(group_size)
        ]
        share = self.config.max_failure_share
        played = await self.play(jobs, options, max_failure_share=share, num_groups=len(tasks))
        groups = (*kept.values(), *_groups(left, played.rollouts, group_size))
        in_order = sorted(groups, key=lambda group: places[group.task_id, group.seed])
        return Collected(groups=tuple(in_order), counts=played.counts)

    async def play(
        self,
        jobs: Sequence[Job],
        options: PlayOptions,
        *,
        max_failure_share: float = 1.0,
        num_groups: int | None = None,
    ) -> Played:
        """Play each job to its end.

        max_failure_share: the share of the groups that may have a rollout that fails for good, in [0, 1].
        num_groups: of how many groups; None for as many as the jobs have tasks.
        Raises RolloutsFailed above it.
        """
        collection = Collection(
            jobs, retries=self.config.retries, max_failure_share=max_failure_share, num_groups=num_groups
        )
        with self.policy.session(len(jobs)) as session:
            player = _Player(collector=self, session=session, options=options, collection=collection)
            running = [asyncio.create_task(player.rollout(job)) for job in jobs]
            try:
                rollouts = await asyncio.gather(*running)
            finally:
                for rollout in running:
                    rollout.cancel()
        return Played(rollouts=tuple(rollouts), counts=collection.counts())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Player:
    """Plays the jobs of one collection."""

    collector: Collector
    session: Session
    options: PlayOptions
    collection: Collection

    async def rollout(self, job: Job) -> Trajectory | None:
        """Play one job to its end, again from its seed if the world failed; None when it failed for good."""
        try:
            while self.collection.may_try(job):
                try:
                    async with self.collector.pool.episode() as episode:
                        trajectory = await self._play(episode, job)
                except EpisodeFailed as error:
                    self.collection.count_failure(job, error)
                else:
                    self.options.on_done(trajectory)
                    return trajectory
            self._drop(job)
            return None
        finally:
            self.session.leave()

    def _drop(self, job: Job) -> None:
        self.collection.drop(job)
        if self.collection.exceeds_failure_share:
            raise RolloutsFailed(
                f"{_dropped_words(self.collection.counts(), self.collection.num_groups)}, more than "
                f"rollout.max_failure_share={self.collector.config.max_failure_share}: mend it or raise the share"
            )

    async def _play(self, episode: Episode, job: Job) -> Trajectory:
        first = await episode.reset(job.task.task_id, job.task.seed)
        if job.task_text is not None:
            first = replace(first, observation=job.task_text)
        dialogue = Dialogue(self.collector.prompter, first, truncated=self.collector.config.truncated)
        while dialogue.now.ending is None and dialogue.idle_turns != self.options.max_idle_turns:
            exchange = await self._ask(dialogue, job)
            reply = dialogue.parse(exchange)
            after = await episode.step(reply.action)
            reward = self.collector.config.success_reward if after.won else 0.0
            dialogue.add(exchange, reply, after, reward=reward)
        return dialogue.trajectory(job)

    async def _ask(self, dialogue: Dialogue, job: Job) -> Exchange:
        """Ask for the next turn with the whole prompt, or with the longest one that the policy takes."""
        key = (*job.key, dialogue.time)
        seed = derive_seed(self.options.seed, *key)
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


def _dropped_words(counts: PlayCounts, num_groups: int) -> str:
    return (
        f"{counts.dropped_groups} of {num_groups} groups dropped ({dict(counts.failures)}; the last: "
        f"{counts.last_failure})"
    )


def _groups(tasks: Sequence[Task], rollouts: Sequence[Trajectory | None], group_size: int) -> tuple[RolloutGroup, ...]:
    """Whole groups in task order; a group with a failed rollout is left out."""
    groups: list[RolloutGroup] = []
    for number, task in enumerate(tasks):
        members = rollouts[number * group_size : (number + 1) * group_size]
        trajectories = tuple(member for member in members if member is not None)
        if len(trajectories) == group_size:
            groups.append(RolloutGroup(task_id=task.task_id, seed=task.seed, trajectories=trajectories))
    return tuple(groups)
