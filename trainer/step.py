"""One update, top to bottom: collect, revise if the estimator needs it, score, credit, learn, publish, report."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from estimators import Advantages, Estimator, Needs, calibrated, needs
from rollout.collect import Collected, RolloutsFailed
from rollout.engines import EngineLosses
from rollout.revise import ReviseConfig, Revised
from rollout.seeds import derive_seed
from rollout.types import Trajectory
from trainer.config.build import ConfigError
from trainer.data.bad_batch import BadBatch
from trainer.data.columns import live_rows, rollout_logprobs, step_batch, token_batch, token_mask
from trainer.data.difficulty import Difficulty
from trainer.data.retries import aided, with_retries
from trainer.data.rows import RowTable, with_step_rewards
from trainer.data.tokens import Targets, TokenBatch
from trainer.gather import Ahead, Gathered, Gathering
from trainer.learner.driver import GradientNotFinite
from trainer.learner.first_ratio import check_learned
from trainer.learner.reports import LearnReport, Scores
from trainer.learner.twin import Twin
from trainer.report.stopwatch import Stopwatch
from trainer.scorers import Rollouts, StepRewards, layer_read
from trainer.setup.credit import advantages_of, tries_again
from trainer.setup.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What one update did."""

    number: int
    """Which update this was, from 1; also the policy version it published."""
    collected: Collected
    """The rollouts, with their revisions if there was a revision phase."""
    revised: Revised | None
    """What the revision phase did; None where the estimator needs no revisions."""
    scores: Scores
    """Log-probs and hidden states of the policy before the update."""
    advantages: Advantages
    """The credit of every row."""
    learned: LearnReport
    """What the optimizer steps did."""
    seconds: dict[str, float]
    """Wall seconds of each lap, by its name. Rollouts that were played ahead took none of them."""
    collect_seconds: float
    """Wall seconds of the rollouts, whenever they were played."""
    estimator: Estimator
    """The estimator after the update, with whatever it calibrated."""
    losses: EngineLosses
    """What engines lost since the last update, validations included, and how many were started anew."""
    difficulty: Difficulty
    """How often each task was solved, this update's rollouts included."""
    rewarded: StepRewards | None = None
    """What the scorer gave; None without one."""
    restarts: int = 0
    """How often the run had to go back to its last checkpoint because this update was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What of a run goes on beside its updates."""

    ahead: Ahead | None = None
    """Plays the rollouts of the next update while this one learns; None: each update plays its own."""
    drained: bool = False
    """Nothing is played ahead this time, so that a checkpoint of this update is all there is."""
    last_checkpoint: Callable[[], str | None] = lambda: None
    """Names the last checkpoint, once it is whole, for a batch that is saved."""

    def taken(self, number: int, on_done: Callable[[Trajectory], None]) -> Gathered | None:
        """The rollouts of an update that were played ahead, each told to `on_done`; None where there are none."""
        gathered = None if self.ahead is None else self.ahead.take(number)
        if gathered is not None:
            for group in (*gathered.collected.groups, *gathered.collected.flat):
                for trajectory in group.trajectories:
                    on_done(trajectory)
        return gathered

    def start(self, gathering: Gathering) -> None:
        """Begin to play the rollouts of the next update, unless nothing is played ahead."""
        if self.ahead is not None and not self.drained:
            self.ahead.start(gathering)


def update(
    parts: Parts,
    estimator: Estimator,
    number: int,
    on_done: Callable[[Trajectory], None] = lambda _: None,
    watch: Stopwatch | None = None,
    difficulty: Difficulty | None = None,
    beside: Beside | None = None,
) -> UpdateReport:
    """Train on the tasks of update `number` (from 1). Returns when the engines serve policy version `number`.

    on_done: called with each finished rollout. watch: takes the time of the phases; None takes a new one.
    difficulty: how often each task was solved before; None: no task was played yet. beside: what goes on meanwhile;
    None: nothing.
    Raises GradientNotFinite, with the file of the batch, where too many optimizer steps in a row had to be skipped,
    RatioNotOne, before anything is published, if the policy that learned is not the one that was scored, and
    EngineMismatch if it is not the one that the engines sampled from.
    """
    config, watch, wants, beside = parts.config, watch or Stopwatch(), needs(estimator), beside or Beside()
    gathering = Gathering(
        parts=parts,
        number=number,
        difficulty=difficulty or Difficulty(),
        revisions=tries_again(config, wants),
        on_done=on_done,
        watch=watch,
    )
    gathered = beside.taken(number, on_done) or asyncio.run(gathering.gathered())
    collected = gathered.collected
    difficulty = gathering.difficulty.after((*collected.groups, *collected.flat))
    following = Gathering(parts=parts, number=number + 1, difficulty=difficulty, revisions=gathering.revisions)
    beside.start(following)
    judged = _judged(parts, collected, wants, watch)
    with watch("credit"):
        estimator, advantages = _credited(estimator, judged.table, judged.scores, config.revise)
    with watch("learn"):
        targets = _targets(parts, judged.table, judged.scores, advantages)
        learned = _learn(parts, number, judged.tokens, targets, beside.last_checkpoint)
        check_learned(learned, config.learner, ahead=gathered.ahead)
    if beside.ahead is not None:
        with watch("wait"):
            beside.ahead.wait()
    with watch("publish"):
        publish(parts, number)
    return UpdateReport(
        number=number,
        collected=judged.collected,
        rewarded=judged.rewarded,
        revised=gathered.revised,
        collect_seconds=gathered.seconds,
        scores=judged.scores,
        advantages=advantages,
        learned=learned,
        seconds=watch.laps,
        estimator=estimator,
        losses=parts.engines.take_losses(),
        difficulty=difficulty,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """Rollouts, with what the learner and the scorer say of them."""

    collected: Collected
    table: RowTable
    tokens: TokenBatch
    scores: Scores
    rewarded: StepRewards | None


def _judged(parts: Parts, collected: Collected, wants: Needs, watch: Stopwatch) -> _Judged:
    """Put the engines to sleep until the publish; let the learner score every row, then the scorer reward it."""
    table = RowTable(collected.groups, retries=True)
    tokens = token_batch(table)
    with watch("score"):
        parts.engines.sleep()
        scores = parts.learner.score(tokens, layer=layer_read(wants, parts.scorer))
    rewarded = None
    if parts.scorer is not None:
        with watch("reward"):
            rewarded = _rewarded(parts, table, tokens, scores)
            collected = replace(collected, groups=with_step_rewards(collected.groups, rewarded.value))
            table = RowTable(collected.groups, retries=True)
    return _Judged(collected=collected, table=table, tokens=tokens, scores=scores, rewarded=rewarded)


def _rewarded(parts: Parts, table: RowTable, tokens: TokenBatch, scores: Scores) -> StepRewards:
    """What the scorer gives to the rows. Raises ConfigError where it gives another number of rewards."""
    assert parts.scorer is not None
    twin = parts.learner.twin
    rollouts = Rollouts(
        groups=table.groups,
        env=parts.world.env,
        folder=Path(parts.config.output).absolute() / "scorer",
        hidden=scores.embedding,
        logprobs=scores.logprobs,
        twin=None if twin is None else Twin(twin, tokens),
    )
    rewarded = parts.scorer(rollouts)
    if len(rewarded.value) != len(table):
        raise ConfigError(
            f"the scorer gave {len(rewarded.value)} step rewards for {len(table)} rows: give one for each row of "
            "Rollouts.table, in its order"
        )
    return rewarded


def _credited(
    estimator: Estimator, table: RowTable, scores: Scores, revise: ReviseConfig
) -> tuple[Estimator, Advantages]:
    """The estimator, calibrated on the rows that it judges, and the credit of all rows."""
    wants = needs(estimator)
    judged = RowTable(table.groups) if revise.mode == "intervene" else table
    batch = step_batch(
        judged,
        wants,
        embedding=None if wants.layer is None or scores.embedding is None else scores.embedding[: len(judged)],
        values=scores.values,
    )
    estimator = calibrated(estimator, batch)
    return estimator, with_retries(table.groups, advantages_of(estimator, batch), revise)


def publish(parts: Parts, version: int) -> None:
    """Hand the learner's weights to every engine, as policy version `version`."""
    parts.engines.publish(parts.learner, version, parts.config.cluster.publish_timeout_s)


def _learn(
    parts: Parts, number: int, tokens: TokenBatch, targets: Targets, last_checkpoint: Callable[[], str | None]
) -> LearnReport:
    """Take the optimizer steps of an update. A batch that ends the run is saved beside it."""
    seed = derive_seed(parts.config.seed, "minibatches", number)
    try:
        return parts.learner.learn(tokens, targets, seed=seed)
    except GradientNotFinite as error:
        batch = BadBatch(update=number, seed=seed, checkpoint=last_checkpoint(), tokens=tokens, targets=targets)
        path = batch.write(Path(parts.config.output))
        raise GradientNotFinite(
            f"{error}; stepcredit replay {path} shows the rows, and stepcredit fork goes on from the last checkpoint "
            "with another rate"
        ) from error


def _targets(parts: Parts, table: RowTable, scores: Scores, advantages: Advantages) -> Targets:
    """What the learner gets. Raises RolloutsFailed where fewer rollouts are left than it takes optimizer steps."""
    live = live_rows(table, advantages.mask, truncated=parts.config.rollout.truncated)
    num_left = len({row.trajectory for row in compress(table, live)})
    steps = parts.config.learner.steps_of(rows=int(live.sum()), rollouts=num_left)
    if num_left < steps:
        other = "lower learner.optimizer_steps" if num_left else "take another estimator, which left every row out"
        raise RolloutsFailed(
            f"{num_left} rollouts are left to learn from (estimator.name={parts.config.estimator['name']}, "
            f"rollout.truncated={parts.config.rollout.truncated}) and {steps} optimizer steps need one each: "
            f"raise model.response_tokens if responses are truncated, else {other}"
        )
    sampled = rollout_logprobs(table)
    if scores.logprobs is not None:  # retries without them are refused
        sampled = np.where(np.repeat(aided(table.groups), table.response_lens), scores.logprobs, sampled)
    return Targets(
        advantage=advantages.value.astype(np.float32),
        row_mask=live,
        old_logprobs=sampled if scores.logprobs is None else scores.logprobs,
        ref_logprobs=scores.ref_logprobs,
        rollout_logprobs=sampled,
        token_mask=None if advantages.mask is None else token_mask(table),
        token_advantage=None if advantages.token_value is None else advantages.token_value.astype(np.float32),
        returns=None if advantages.returns is None else advantages.returns.astype(np.float32),
        values=scores.values,
    )
