"""The numbers of an update under the names they are logged by."""

import numpy as np

from envs.base import Ending
from trainer.batch import trajectories
from trainer.evaluation import Evaluation
from trainer.step import UpdateReport


def update_numbers(report: UpdateReport) -> dict[str, float]:
    """Flat numbers of one update: rollout/, learn/, credit/, seconds/, share/."""
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
    numbers |= {f"failure/{reason}": float(count) for reason, count in report.collected.failures.items()}
    numbers |= {f"credit/{name}": float(value) for name, value in report.advantages.diagnostics.items()}
    numbers |= {f"seconds/{lap}": seconds for lap, seconds in report.seconds.items()}
    numbers |= {f"share/{lap}": seconds / total for lap, seconds in report.seconds.items()}
    return numbers


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
