"""Retries of failures: taken up at the pivot, where a sibling went another way (R3L 2601.03715, InT 2601.14209)."""

from collections.abc import Sequence
from dataclasses import replace

from rollout.collect import Collector
from rollout.collection import Job, PlayOptions
from rollout.revise import ReviseConfig, Revised, actions, changed, failures, revision_job
from rollout.types import Retry, RolloutGroup, Trajectory


async def retry(
    collector: Collector, groups: Sequence[RolloutGroup], *, config: ReviseConfig, options: PlayOptions
) -> Revised:
    """Consumes finished groups, waits for retries of all their failures at once, produces the groups with them.

    The world takes the failure's own steps before the pivot again, from the same seed: any world can, since the same
    task and seed give the same episode. The policy takes the step at the pivot while it is shown both attempts, and all
    later ones without them. A retry that cannot be played is counted.
    """
    pairs = failures(groups, config)
    jobs = [_job(number, failed, reference, config.prompt) for number, failed, reference in pairs]
    played = await collector.play(jobs, options)
    retries: list[list[Retry]] = [[] for _ in groups]
    for (number, failed, reference), retried in zip(pairs, played.rollouts, strict=True):
        if retried is not None:
            at = pivot(failed, reference)
            unaided = _unaided(retried, failed, at)
            retries[number].append(Retry(trajectory=unaided, reference=reference.sibling, pivot=at))
    return Revised(
        groups=tuple(replace(group, retries=tuple(own)) for group, own in zip(groups, retries, strict=True)),
        rollouts=len({(number, failed.sibling) for number, failed, _ in pairs}),
        requested=len(jobs),
        counts=played.counts,
    )


def pivot(failed: Trajectory, reference: Trajectory) -> int:
    """The first step of the failure that the edits into the reference change; its last one where they change none.

    Reading: in the papers the policy names its first error. Here it is where a sibling went another way, because small
    policies name none.
    """
    return min(changed(actions(failed), actions(reference)), default=len(failed.steps) - 1)


def _job(number: int, failed: Trajectory, reference: Trajectory, prompt: str) -> Job:
    job = revision_job(number, failed, reference, prompt)
    return replace(job, resumed=failed.steps[: pivot(failed, reference) + 1])


def _unaided(retried: Trajectory, failed: Trajectory, at: int) -> Trajectory:
    """The retry with the step at the pivot as if nothing had been shown: behind the failure's own prompt there."""
    step, before = retried.steps[at], failed.steps[at]
    completion = replace(step.completion, prompt_ids=before.completion.prompt_ids)
    step = replace(step, observation=before.observation, completion=completion)
    return replace(retried, steps=(*retried.steps[:at], step, *retried.steps[at + 1 :]))
