"""The numbers of an update, under the names they are logged by."""

from collections.abc import Sequence

import numpy as np

from envs.base import Ending
from rollout.pool import ENV_TIMEOUT, WORKER_DIED
from rollout.revise import Revised
from rollout.types import Retry, RolloutGroup
from rollout.usage import EngineUsage
from trainer.data.rows import trajectories
from trainer.evaluation import Evaluation
from trainer.saver import Saved
from trainer.setup.mfu import Arithmetic
from trainer.step import UpdateReport


def update_numbers(report: UpdateReport, arithmetic: Arithmetic | None = None) -> dict[str, float]:
    """The numbers of one update, by logged name. arithmetic: None where the peak of the learner is not known."""
    rollouts = trajectories(report.collected.groups)
    steps = [step for trajectory in rollouts for step in trajectory.steps]
    learned, total = report.learned, sum(report.seconds.values())
    numbers = {
        "rollout/success": float(np.mean([trajectory.success for trajectory in rollouts])),
        "rollout/score": float(np.mean([trajectory.score for trajectory in rollouts])),
        "rollout/steps": len(steps) / len(rollouts),
        "rollout/response_tokens": float(np.mean([len(step.completion.token_ids) for step in steps])),
        "rollout/prompt_tokens": float(np.mean([len(step.completion.prompt_ids) for step in steps])),
        "rollout/stuck": float(np.mean([trajectory.ending is Ending.STUCK for trajectory in rollouts])),
        "rollout/invalid": float(np.mean([not step.valid for step in steps])),
        "rollout/truncated": float(np.mean([step.completion.truncated for step in steps])),
        "rollout/cut_prompts": float(report.collected.counts.cut_prompts),
        "rollout/cut_actions": float(report.collected.counts.cut_actions),
        "rollout/dropped_groups": float(report.collected.counts.dropped_groups),
        "rollout/ended_early": float(report.collected.counts.ended_early),
        "rollout/replaced_groups": float(len(report.collected.flat)),
        "rollout/replaced_tokens": float(_response_tokens(report.collected.flat)),
        "rollout/staleness": float(np.mean([report.number - 1 - step.completion.policy_version for step in steps])),
        "rollout/worker_restarts": float(_worker_restarts(report)),
        "learn/restarts": float(report.restarts),
        "rollout/engine_restarts": float(report.losses.restarted),
        "learn/optimizer_steps": float(learned.optimizer_steps),
        "learn/skipped_steps": float(learned.skipped_steps),
        "learn/learning_rate": learned.learning_rate,
        "learn/tokens": float(learned.tokens),
        "learn/padded_ratio": learned.padded_ratio,
        "learn/chain_saving": learned.row_tokens / learned.tokens,
        "credit/abs_mean": float(np.abs(report.advantages.value).mean()),
        "credit/zero_share": float((report.advantages.value == 0).mean()),
    }
    if report.scores.entropy is not None:
        numbers["learn/entropy"] = report.scores.entropy
    if learned.optimizer_steps > 0:
        names = ("loss", "policy_loss", "kl", "clip_share", "grad_norm", "ratio_max", "first_ratio_error")
        numbers |= {f"learn/{name}": getattr(learned, name) for name in names}
    if learned.engine_mismatch is not None:
        numbers["learn/engine_mismatch"] = learned.engine_mismatch
    numbers |= _critic_numbers(report)
    if report.revised is not None:
        numbers |= revision_numbers(report.revised)
    numbers |= _scorer_numbers(report)
    numbers |= {f"failure/{reason}": float(count) for reason, count in report.collected.counts.failures.items()}
    numbers |= {f"failure/{reason}": float(count) for reason, count in report.losses.requests.items()}
    numbers |= {f"credit/{name}": float(value) for name, value in report.advantages.diagnostics.items()}
    numbers |= {f"seconds/{lap}": seconds for lap, seconds in report.seconds.items()}
    numbers |= {f"share/{lap}": seconds / total for lap, seconds in report.seconds.items()}
    sampled = _response_tokens((*report.collected.groups, *report.collected.flat))
    numbers |= {
        "speed/collect": sampled / report.collect_seconds,
        "speed/learn": learned.tokens / report.seconds["learn"],
    }
    if arithmetic is not None:
        numbers["speed/mfu"] = arithmetic.mfu(learned, report.seconds["learn"])
    return numbers | ({} if report.collected.usage is None else _usage_numbers(report.collected.usage))


def _critic_numbers(report: UpdateReport) -> dict[str, float]:
    """What the critic knew before the update, and how it learned; empty without one."""
    values, returns, learned = report.scores.values, report.advantages.returns, report.learned
    if values is None or returns is None:
        return {}
    numbers = {"critic/value": float(values.mean()), "critic/return": float(returns.mean())}
    if learned.optimizer_steps > 0 and learned.critic_loss is not None and learned.critic_clip_share is not None:
        numbers |= {"critic/loss": learned.critic_loss, "critic/clip_share": learned.critic_clip_share}
    return numbers


def _scorer_numbers(report: UpdateReport) -> dict[str, float]:
    """What the scorer gave; empty without one."""
    if report.rewarded is None:
        return {}
    rollouts = trajectories(report.collected.groups)
    value = report.rewarded.value[: sum(len(rollout.steps) for rollout in rollouts)]  # without those of retries
    sums = np.add.reduceat(value, np.cumsum([0, *(len(rollout.steps) for rollout in rollouts[:-1])]))
    won = np.array([rollout.success for rollout in rollouts])
    numbers = {"scorer/reward_mean": float(value.mean()), "scorer/reward_abs_mean": float(np.abs(value).mean())}
    if 0 < won.sum() < len(won):
        numbers["scorer/success_difference"] = float(sums[won].mean() - sums[~won].mean())
    return numbers | {f"scorer/{name}": float(number) for name, number in report.rewarded.diagnostics.items()}


def _usage_numbers(usage: EngineUsage) -> dict[str, float]:
    return {
        "speed/engine_busy": usage.busy,
        "speed/engine_running": usage.running,
        "speed/cache_hits": usage.cached_tokens / max(usage.prompt_tokens, 1),
    }


def _worker_restarts(report: UpdateReport) -> int:
    """Each worker that is lost is charged to one call, whose failure names it; the others it held say worker_lost."""
    phases = [report.collected.counts, *([report.revised.counts] if report.revised else [])]
    return sum(counts.failures.get(reason, 0) for counts in phases for reason in (WORKER_DIED, ENV_TIMEOUT))


def _response_tokens(groups: Sequence[RolloutGroup]) -> int:
    return sum(len(step.completion.token_ids) for rollout in trajectories(groups) for step in rollout.steps)


def revision_numbers(revised: Revised) -> dict[str, float]:
    """The numbers of one phase of revisions or retries, by logged name. Its wall time is seconds/revise."""
    played = [  # with the first step that is its own
        (number, again.trajectory, again.pivot if isinstance(again, Retry) else 0)
        for number, group in enumerate(revised.groups)
        for again in (*(group.revisions or ()), *group.retries)
    ]
    successes = [(number, rollout.sibling) for number, rollout, _ in played if rollout.success]
    completions = [step.completion for _, rollout, begin in played for step in rollout.steps[begin:]]
    return {
        "revise/rollouts": float(revised.rollouts),
        "revise/repaired": float(len(set(successes))),
        "revise/revisions": float(revised.requested),
        "revise/succeeded": float(len(successes)),
        "revise/prompt_tokens": float(sum(len(completion.prompt_ids) for completion in completions)),
        "revise/response_tokens": float(sum(len(completion.token_ids) for completion in completions)),
        "revise/cut_prompts": float(revised.counts.cut_prompts),
        **{f"revise/failure/{reason}": float(count) for reason, count in revised.counts.failures.items()},
    }


def checkpoint_numbers(saved: Sequence[Saved]) -> dict[str, float]:
    """The numbers of the checkpoints that were written since the last row: the seconds of all, the last one's size."""
    if not saved:
        return {}
    return {
        "checkpoint/seconds": sum(one.seconds for one in saved),
        "checkpoint/blocked_seconds": sum(one.blocked_seconds for one in saved),
        "checkpoint/gib": saved[-1].size / 2**30,
    }


def evaluation_numbers(evaluation: Evaluation) -> dict[str, float]:
    """The numbers of one validation, by logged name."""
    low, high = evaluation.overall.interval
    return {
        "validation/success": evaluation.overall.share,
        "validation/low": low,
        "validation/high": high,
        "validation/not_played": float(sum(evaluation.not_played.values())),
        **{f"validation/not_played {reason}": float(count) for reason, count in evaluation.not_played.items()},
        "validation/score": evaluation.mean_score,
        "validation/steps": evaluation.mean_steps,
        "validation/invalid": evaluation.invalid_share,
        **{f"validation/success {kind}": rate.share for kind, rate in evaluation.by_kind.items()},
    }
