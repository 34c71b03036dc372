"""What every logged number means."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal[
    "share",
    "count",
    "tokens",
    "steps",
    "seconds",
    "nats",
    "score",
    "ratio",
    "credit",
    "number",
    "tokens a second",
    "GiB",
]
Range = Literal["0 to 1", "0 or more", "1 or more", "above 0", "any"]
BOUNDS: Mapping[Range, tuple[float, float]] = {
    "0 to 1": (0.0, 1.0),
    "0 or more": (0.0, math.inf),
    "1 or more": (1.0, math.inf),
    "above 0": (0.0, math.inf),
    "any": (-math.inf, math.inf),
}
"""The least and the largest value of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What one logged number means."""

    meaning: str
    """One sentence. It states what is counted or averaged, and over what."""
    unit: Unit
    """"share" is a part of a whole; "credit" is in units of the advantage; "number" has no unit."""
    range: Range
    """The values it can take."""


def _share(meaning: str) -> Metric:
    return Metric(meaning=meaning, unit="share", range="0 to 1")


def _count(meaning: str) -> Metric:
    return Metric(meaning=meaning, unit="count", range="0 or more")


def _metric(meaning: str, unit: Unit, range: Range) -> Metric:
    return Metric(meaning=meaning, unit=unit, range=range)


MEANINGS: Mapping[str, Metric] = {
    # --- the rollouts of the update; revisions are not among them
    "rollout/success": _share("Rollouts that solved their task; with max_groups_tried, of the groups that were kept."),
    "rollout/score": _metric("Mean score that the world gave to a rollout.", "score", "0 to 1"),
    "rollout/steps": _metric("Mean number of steps of a rollout.", "steps", "1 or more"),
    "rollout/response_tokens": _metric("Mean response tokens of a step.", "tokens", "1 or more"),
    "rollout/prompt_tokens": _metric("Mean prompt tokens of a step.", "tokens", "1 or more"),
    "rollout/stuck": _share("Rollouts that were stopped after max_idle_turns turns without any change."),
    "rollout/invalid": _share("Steps whose response broke the format or the grammar of actions."),
    "rollout/truncated": _share("Steps whose response was cut at sampling.max_tokens."),
    "rollout/cut_prompts": _count("Prompts that were shortened to fit into model.prompt_tokens."),
    "rollout/cut_actions": _count("Prompts that were shortened so far that admissible actions were left out."),
    "rollout/dropped_groups": _count("Groups that were dropped because one of their rollouts failed in every attempt."),
    "rollout/ended_early": _count(
        "Rollouts that were not played to their end because their group was dropped already (rollout.early_end)."
    ),
    "rollout/replaced_groups": _count(
        "Groups whose rollouts all earned the same and that another task replaced (max_groups_tried)."
    ),
    "rollout/replaced_tokens": _metric("Response tokens of the replaced groups.", "tokens", "0 or more"),
    "rollout/staleness": _metric(
        "Updates that the policy had learned since it sampled a step, mean over the steps; above 0 with ahead=1 only.",
        "number",
        "0 or more",
    ),
    "rollout/engine_restarts": _count("Engines that were started anew in the place of those that died or fell silent."),
    "rollout/worker_restarts": _count(
        "Env workers that were started anew in the place of those that died or hung; revisions are counted as well."
    ),
    "failure/REASON": _count(
        "Rollouts that failed for this reason, whether they were then retried or given up. Of engine_died, "
        "engine_timeout and engine_half_new: requests, or whole waves, that were asked again with the same seeds."
    ),
    # --- the revision phase, only where the estimator needs one
    "revise/rollouts": _count("Failed rollouts that were revised or retried."),
    "revise/repaired": _count("Failed rollouts that at least one revision or retry repaired."),
    "revise/revisions": _count("Revisions or retries that were attempted, including those that could not be played."),
    "revise/succeeded": _count("Revisions or retries that solved their task."),
    "revise/prompt_tokens": _metric(
        "Prompt tokens of all finished revisions; every turn counts its whole prompt, cached or not; a retry's first "
        "counts the one that it is learned with.",
        "tokens",
        "0 or more",
    ),
    "revise/response_tokens": _metric("Response tokens of all finished revisions.", "tokens", "0 or more"),
    "revise/cut_prompts": _count("Prompts of revisions that were shortened to fit into model.prompt_tokens."),
    "revise/failure/REASON": _count(
        "Revisions that failed for this reason, whether they were then retried or given up."
    ),
    # --- the learner; means over the optimizer steps of means over their response tokens, unless it says otherwise
    "learn/loss": _metric(
        "The loss that is minimised: policy loss + kl_coef * kl - entropy_coef * entropy, and the critic's loss if "
        "there is a critic.",
        "number",
        "any",
    ),
    "learn/policy_loss": _metric("The clipped policy-gradient loss alone.", "number", "any"),
    "learn/kl": _metric(
        "Estimated KL divergence of the policy from the reference; 0 if the loss has no KL term.", "nats", "any"
    ),
    "learn/entropy": _metric(
        "Mean entropy of the policy's next-token distribution before the update, at the sampling temperature.",
        "nats",
        "0 or more",
    ),
    "learn/clip_share": _share("Response tokens at which the clipped branch of the loss was the active one."),
    "learn/grad_norm": _metric("Norm of the gradient before clipping.", "number", "0 or more"),
    "learn/optimizer_steps": _count("Optimizer steps that were taken (learner.optimizer_steps or rows_per_step)."),
    "learn/skipped_steps": _count(
        "Optimizer steps that were skipped because their gradient was not finite; the other numbers leave them out."
    ),
    "learn/restarts": _count("Times that the run went back to its last checkpoint because this update was lost."),
    "learn/learning_rate": _metric("Learning rate of the last optimizer step.", "number", "0 or more"),
    "learn/ratio_max": _metric(
        "Largest probability ratio between the policy and the policy before the update, over all tokens.",
        "ratio",
        "0 or more",
    ),
    "learn/first_ratio_error": _metric(
        "Mean |log probability ratio| at the first optimizer step, where only rounding may differ from 0; with "
        "learner.old_logprobs=engine the engine's as well.",
        "nats",
        "0 or more",
    ),
    "learn/tokens": _metric("Tokens that went through the model in the optimizer steps.", "tokens", "1 or more"),
    "learn/padded_ratio": _metric("Cells of the micro-batches, padding included, per token.", "ratio", "1 or more"),
    "learn/chain_saving": _metric(
        "Tokens that the rows would have cost without chains, per token that went through the model.",
        "ratio",
        "1 or more",
    ),
    "learn/engine_mismatch": _metric(
        "Mean |engine log-prob - learner log-prob| of the response tokens in the loss, before the update.",
        "nats",
        "0 or more",
    ),
    # --- the critic, of estimators that have one, over rows
    "critic/loss": _metric(
        "Mean over the optimizer steps of half the squared error of the critic.", "number", "0 or more"
    ),
    "critic/value": _metric("Mean value of a row, or token, before the update, in units of reward.", "number", "any"),
    "critic/return": _metric("Mean return that the critic learns from, in units of reward.", "number", "any"),
    "critic/clip_share": _share(
        "Rows, or tokens, whose value moved further than learner.critic.clip and cost more without it."
    ),
    # --- credit, over rows
    "credit/abs_mean": _metric("Mean absolute advantage of a row.", "credit", "0 or more"),
    "credit/zero_share": _share("Rows whose advantage is exactly 0: they teach nothing."),
    "credit/flat_group_share": _share("Groups whose rollouts all have the same return, and so no episode credit."),
    "credit/singleton_share": _share("State clusters that hold a single row, over clusters."),
    "credit/cluster_size_mean": _metric("Mean number of rows of a state cluster.", "number", "1 or more"),
    "credit/cluster_size_p90": _metric("90th percentile of the rows of a state cluster.", "number", "1 or more"),
    "credit/pairs": _count("Unordered pairs of rows that share a state cluster."),
    "credit/largest_cluster_share": _share("Largest part of its group's rows that one state cluster holds."),
    "credit/share_singleton": _share("bipace: rows that are alone in their cluster, whose step credit is 0."),
    "credit/share_contrast": _share("bipace: rows compared with rows of the cluster that took another action."),
    "credit/share_no_contrast": _share("bipace: rows with company in their cluster, all of which took their action."),
    "credit/keys_per_cluster": _metric(
        "bipace: mean number of different action keys in a cluster.", "number", "1 or more"
    ),
    "credit/parse_rate": _share("bipace: rows whose response was valid and named an action."),
    "credit/eps": _metric("bipace: the distance within which hidden states form a cluster.", "number", "0 or more"),
    "credit/contrast_share": _share(
        "crbc, toll: rows in whose state two or more different actions were taken. graphhca: rows in whose state steps "
        "had different credit."
    ),
    "credit/chance_share": _share(
        "toll: how far the spread of these states is chance, mean over those rows; no scale where it is 1."
    ),
    "credit/step_price": _share("toll: what a step costs of the return to come, mean over groups."),
    "credit/clamped_share": _share(
        "graphhca: rows that led to a state whose chance of success is at the clamp. grpo_lambda: rows whose blame is."
    ),
    "credit/gate_mean": _share("ecpo: mean over rows of the gate that scales the step credit."),
    "credit/reachable_share": _share(
        "graphgpo: states from which a path to a success was observed in their group, over states."
    ),
    "credit/distance_max": _metric(
        "graphgpo: steps to a success from the farthest of those states.", "steps", "0 or more"
    ),
    "credit/alone_at_DEPTH": _share("hgpo: rows that share their state and the DEPTH states before it with no other."),
    "credit/completed_share": _share("beacon: rows after which their rollout reached one more milestone."),
    "credit/milestones_mean": _metric(
        "beacon: mean number of milestones that a rollout reached.", "number", "0 or more"
    ),
    "credit/potential_weight": _share("pgpo: mean over groups of the weight of the potential's rise."),
    "credit/branch_share": _share("tempo: rows after which the value of the history changes."),
    "credit/alone_share": _share("turn_loo: rows whose turn no other rollout of their group takes."),
    "credit/success_share": _share("ibpo, pgpo: rollouts that solved their task."),
    "credit/repaired_share": _share("ibpo: rollouts that failed and that a revision repaired."),
    "credit/repair_mean": _metric("ibpo: mean repair score s of the repaired rollouts.", "number", "0 to 1"),
    "credit/variance_bound": _metric(
        "ibpo: if success_share is above this, the bonus lowers the variance within the group.", "number", "0 to 1"
    ),
    "credit/masked_share": _share("ibpo: rows that the mask leaves out of the loss."),
    "credit/switch_share": _share("hiper: turns that chose another sub-goal, first turns left out."),
    "credit/segment_turns": _metric("hiper: mean turns that a sub-goal was in force.", "steps", "1 or more"),
    "credit/batch_std": _metric(
        "reinforce_pp, ppo: the standard deviation that returns or advantages are divided by.", "credit", "above 0"
    ),
    "credit/explained_variance": _metric(
        "ppo, hiper: share of the variance of the returns to go that the critic's values explain, as they were before "
        "the update; below 0 they are worse than a constant.",
        "number",
        "any",
    ),
    # --- step rewards, only with a scorer
    "scorer/reward_mean": _metric("Mean step reward that the scorer gave to a row.", "number", "any"),
    "scorer/reward_abs_mean": _metric("Mean absolute step reward of a row.", "number", "0 or more"),
    "scorer/success_difference": _metric(
        "Step rewards summed over a rollout, mean of those that solved their task less mean of the others; below 0 the "
        "scorer prefers failures. Only where there are both.",
        "number",
        "any",
    ),
    "scorer/milestones": _metric(
        "milestones: mean number of milestones that a rollout reached.", "number", "0 or more"
    ),
    "scorer/matched_share": _share("plan: steps that match a step of the expert's plan."),
    "scorer/plan_steps": _metric("plan: mean length of the expert's plans.", "steps", "1 or more"),
    "scorer/plan_success": _share("plan: plans that solve their task."),
    "scorer/explained": _metric(
        "progress: share of the variance of outcomes that the head explains in rollouts it was not fitted on; below 0 "
        "it is worse than their mean. Left out where all outcomes are equal.",
        "number",
        "any",
    ),
    "scorer/pairs": _count("implicit: pairs of rollouts of a task with unequal returns."),
    "scorer/pair_accuracy": _share("implicit: pairs that the copy ranked correctly, before it learned from them."),
    "scorer/grad_norm": _metric("implicit: gradient norm of the copy, before clipping.", "number", "0 or more"),
    "scorer/requests": _count("judge: requests that the endpoint answered."),
    "scorer/input_tokens": _metric("judge: tokens of the questions.", "tokens", "0 or more"),
    "scorer/output_tokens": _metric("judge: tokens of the answers.", "tokens", "0 or more"),
    "scorer/cached_share": _share("judge: rollouts whose answer was on disk."),
    "scorer/unscored": _count("judge: rollouts that got no answer, and 0 on every step."),
    "scorer/unscored REASON": _count("judge: those of them that were lost for this reason."),
    # --- checkpoints, in the row of the first update that ends after they were written
    "checkpoint/seconds": _metric(
        "Wall time from a checkpoint's first copy until it can be resumed. The run's last one has no row.",
        "seconds",
        "above 0",
    ),
    "checkpoint/blocked_seconds": _metric(
        "Part of it for which no update ran: the copies, and the wait for the checkpoint before.", "seconds", "above 0"
    ),
    "checkpoint/gib": _metric("Size on disk, with the exported model where there is one.", "GiB", "above 0"),
    # --- time; the laps are collect, revise, score, reward, credit, learn and publish; rollouts that were played ahead
    # have none, and the wait for the next ones is the lap wait
    "seconds/validate": _metric(
        "Wall time of the row's validation, which is no part of an update.", "seconds", "0 or more"
    ),
    "seconds/LAP": _metric("Wall time of this part of the update.", "seconds", "0 or more"),
    "share/LAP": _share("This part of the update's wall time."),
    "speed/collect": _metric(
        "Response tokens of all rollouts, replaced groups included, per second of playing them.",
        "tokens a second",
        "0 or more",
    ),
    "speed/learn": _metric(
        "Tokens that went through the model in the optimizer steps, per second of the learn lap.",
        "tokens a second",
        "0 or more",
    ),
    "speed/mfu": _share(
        "Model FLOPs utilisation of the learn lap: the operations that the model needs, 6 a weight and token and those "
        "of attention, over the bfloat16 peak of all ranks. Of known GPUs only."
    ),
    "speed/engine_busy": _share(
        "Time of the collection in which an engine had a request under way, averaged over the engines."
    ),
    "speed/engine_running": _metric(
        "Requests that an engine had under way, averaged over the time of the collection and the engines.",
        "number",
        "0 or more",
    ),
    "speed/cache_hits": _share(
        "Prompt tokens of the collection that vLLM found in its prefix cache; 0 in a deterministic run, which has none."
    ),
    # --- validation, one rollout per held-out task; one that could not be played counts as not solved
    "validation/success": _share("Held-out tasks that were solved."),
    "validation/low": _share("Lower end of the 95 % interval of the success share (Wilson)."),
    "validation/high": _share("Upper end of the 95 % interval of the success share (Wilson)."),
    "validation/not_played": _count("Held-out tasks whose rollout failed in every attempt."),
    "validation/not_played REASON": _count("Those of them whose last attempt failed for this reason."),
    "validation/score": _metric(
        "Mean score that the world gave to a held-out task; 0 for one that could not be played.", "score", "0 to 1"
    ),
    "validation/steps": _metric("Mean number of steps on a held-out task that was played.", "steps", "1 or more"),
    "validation/invalid": _share("Steps whose response broke the format or the grammar of actions."),
    "validation/success KIND": _share("Held-out tasks of this kind that were solved, such as KIND = depth 2."),
}
"""Every number a run logs. A word in capitals stands for any text: `failure/REASON` covers `failure/env_timeout`.

The diagnostics of a user's own estimator are logged as `credit/NAME`, those of a scorer as `scorer/NAME`, and are not
listed.
"""


CLOCKED = ("seconds/", "share/", "speed/", "checkpoint/")
"""How the names begin of what a clock measures, or the moment at which a checkpoint was finished."""


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the largest value of a logged number; of one that is not in the table any value."""
    metric = metric_of(name)
    return BOUNDS["any" if metric is None else metric.range]


def metric_of(name: str) -> Metric | None:
    """What a logged number means; None for one that is not in the table."""
    return MEANINGS.get(name) or next((MEANINGS[one] for one in MEANINGS if _covers(one, name)), None)


def fixed_part(entry: str) -> str:
    """An entry without the word in capitals at its end, for which any text may stand."""
    return re.sub(r"[A-Z]{2,}$", "", entry)


def _covers(entry: str, name: str) -> bool:
    """Whether an entry with a word in capitals stands for the name.

    >>> _covers("validation/success KIND", "validation/success depth 2"), _covers("failure/REASON", "failed/late")
    (True, False)
    """
    fixed = fixed_part(entry)
    return fixed != entry and name.startswith(fixed)
