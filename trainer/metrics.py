"""The numbers of an update under the names they are logged by."""

import numpy as np

from envs.base import Ending
from rollout.revise import Revised
from trainer.data.rows import trajectories
from trainer.evaluation import Evaluation
from trainer.step import UpdateReport


def update_numbers(report: UpdateReport) -> dict[str, float]:
    """Flat numbers of one update: rollout/, revise/, learn/, credit/, seconds/, share/."""
    played = trajectories(report.collected.groups)
    steps = [step for trajectory in played for step in trajectory.steps]
    learned, total = report.learned, sum(report.seconds.values())
    numbers = {
        "rollout/success": float(np.mean([trajectory.success for trajectory in played])),
        "rollout/score": float(np.mean([trajectory.score for trajectory in played])),
        "rollout/steps": len(steps) / len(played),
        "rollout/response_tokens": float(np.mean([len(step.completion.token_ids) for step in steps])),
        "rollout/prompt_tokens": float(np.mean([len(step.completion.prompt_ids) for step in steps])),
        "rollout/stuck": float(np.mean([trajectory.ending is Ending.STUCK for trajectory in played])),
        "rollout/invalid": float(np.mean([not step.valid for step in steps])),
        "rollout/cut_prompts": float(report.collected.cut_prompts),
        "rollout/cut_actions": float(report.collected.cut_actions),
        "rollout/dropped_groups": float(report.collected.dropped_groups),
        "learn/loss": learned.loss,
        "learn/policy_loss": learned.policy_loss,
        "learn/kl": learned.kl,
        "learn/entropy": report.scores.entropy,
        "learn/clip_share": learned.clip_share,
        "learn/grad_norm": learned.grad_norm,
        "learn/learning_rate": learned.learning_rate,
        "learn/ratio_max": learned.ratio_max,
        "learn/tokens": float(learned.tokens),
        "learn/padded_ratio": learned.padded_ratio,
        "learn/chain_saving": learned.row_tokens / learned.tokens,
        "credit/abs_mean": float(np.abs(report.advantages.value).mean()),
        "credit/zero_share": float((report.advantages.value == 0).mean()),
    }
    if learned.engine_mismatch is not None:
        numbers["learn/engine_mismatch"] = learned.engine_mismatch
    if report.revised is not None:
        numbers |= revision_numbers(report.revised)
    numbers |= {f"failure/{reason}": float(count) for reason, count in report.collected.failures.items()}
    numbers |= {f"credit/{name}": float(value) for name, value in report.advantages.diagnostics.items()}
    numbers |= {f"seconds/{lap}": seconds for lap, seconds in report.seconds.items()}
    numbers |= {f"share/{lap}": seconds / total for lap, seconds in report.seconds.items()}
    return numbers


def revision_numbers(found: Revised) -> dict[str, float]:
    """Flat numbers of one revision phase, under revise/: counts, and the tokens of all revisions played to their end.

    A prompt's tokens count whole at every turn; an engine's prefix cache computes fewer. Seconds: seconds/revise.
    """
    revisions = [(number, one) for number, group in enumerate(found.groups) for one in group.revisions or ()]
    won = [(number, one.trajectory.sibling) for number, one in revisions if one.trajectory.success]
    said = [step.completion for _, one in revisions for step in one.trajectory.steps]
    return {
        "revise/rollouts": float(found.rollouts),
        "revise/repaired": float(len(set(won))),
        "revise/revisions": float(found.asked),
        "revise/succeeded": float(len(won)),
        "revise/prompt_tokens": float(sum(len(one.prompt_ids) for one in said)),
        "revise/response_tokens": float(sum(len(one.token_ids) for one in said)),
        "revise/cut_prompts": float(found.cut_prompts),
        **{f"revise/failure/{reason}": float(count) for reason, count in found.failures.items()},
    }


def evaluation_numbers(found: Evaluation) -> dict[str, float]:
    """Flat numbers of one validation, under validation/."""
    low, high = found.overall.interval
    return {
        "validation/success": found.overall.share,
        "validation/low": low,
        "validation/high": high,
        "validation/score": found.mean_score,
        "validation/steps": found.mean_steps,
        "validation/invalid": found.invalid_share,
        **{f"validation/success {kind}": rate.share for kind, rate in found.by_kind.items()},
    }
