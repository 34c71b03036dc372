"""Engine, scores and first optimizer step of an update are of one policy: measured, not assumed."""

from rollout.types import Precision
from rollout.weights import PublishError
from trainer.config.learner import LearnerConfig
from trainer.learner.reports import LearnReport

TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest mean |log ratio| that rounding explains, in nats. Scoring and learning pack the same tokens differently, so
that some sums are rounded differently. float32: 3e-8 on the tiny model. bfloat16: all its roundings together move a
log-prob of SmolLM2-135M by 0.05 on average from its value in float32; two packings cannot differ by more than twice
that."""


class RatioNotOne(RuntimeError):
    """The policy that learns is not the policy that was scored."""


class EngineMismatch(PublishError):
    """The engines sample from another distribution than the learner's policy."""


def check_learned(report: LearnReport, config: LearnerConfig, *, ahead: bool = False) -> None:
    """Raise RatioNotOne or EngineMismatch where an update was not learned from the policy's own rollouts.

    ahead: the rollouts are of the policy before, from which the learner's differs by an update as well. Only updates
    that play their own rollouts can show stale weights.
    """
    # with the engine's old log-probs the first ratio is the engine's mismatch
    if report.optimizer_steps > 0 and config.old_logprobs == "learner":
        check_first_ratio(report.first_ratio_error, config.dtype)
    mismatch = report.engine_mismatch
    # what is no number is no agreement
    if mismatch is not None and not ahead and not mismatch <= config.max_engine_mismatch:
        raise EngineMismatch(
            f"the engines sample from another policy than the learner's: mean |rollout - old log-prob| {mismatch:.3g} "
            f"nats, at most {config.max_engine_mismatch:g} (learner.max_engine_mismatch): resume=auto "
            "publishes the last checkpoint; if it comes again, raise the limit or set cluster.dtype=float32"
        )


def check_first_ratio(error: float, precision: Precision) -> None:
    """Raise RatioNotOne for a mean |log ratio| of the first optimizer step that rounding does not explain.

    error: mean over the tokens in the loss, in nats (`LearnReport.first_ratio_error`).
    """
    tolerance = TOLERANCE[precision]
    if not error <= tolerance:  # what is no number is no agreement
        raise RatioNotOne(
            f"the probability ratio of the first optimizer step is not 1: mean |log ratio| {error:.3g} nats, at most "
            f"{tolerance:g} in {precision}. Scoring and learning differ: look for dropout or other randomness in "
            "training mode, another temperature, or a broken kernel"
        )
