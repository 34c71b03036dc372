"""The estimator and the scorer of a run, checked against its other settings. This file imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from estimators import Advantages, Estimator, Needs, StepBatch, needs
from estimators import build as build_estimator
from rollout.revise import ReviseConfig
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.learner import CriticConfig, LearnerConfig, LossConfig
from trainer.scorers import Checking, Scorer, layer_read, name_of, trains_twin
from trainer.scorers import build as build_scorer
from trainer.setup.world import World

SUBGOALS = "subgoals"
"""The style of prompts that asks for sub-goals."""
EPISODE_ALONE = frozenset({"beacon", "crbc", "graphgpo", "graphhca", "grpo", "grpo_lambda", "ibpo", "tempo"})
"""Estimators that read a scorer's rewards in their episode term alone."""
CRITIC_COLUMNS = frozenset({"values", "token_values", "response_tokens"})
"""Those that the learner's critic makes, which recorded rollouts have not."""
MADE_COLUMNS = CRITIC_COLUMNS | {"embedding", "similar", "repair", "edited", "milestone", "step_reward", "switch"}
"""Optional columns that a run can fill."""


def recorded_columns(settings: Mapping[str, Any]) -> frozenset[str]:
    """The optional columns of a run's recordings, without those of a critic. settings: the run's."""
    scored = name_of(settings.get("scorer") or {}) is not None
    return MADE_COLUMNS - CRITIC_COLUMNS - (frozenset() if scored else {"step_reward"})


def estimator_of(config: TrainConfig) -> Estimator:
    """Build the estimator that the settings name.

    Raises ConfigError for an unknown estimator or option.
    """
    options = dict(config.estimator)
    try:
        return build_estimator(options.pop("name"), **options)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def tries_again(config: TrainConfig, wants: Needs) -> bool:
    """Whether failed rollouts are revised, because the estimator asks for it, or retried, because the config does."""
    return config.revise.mode != "revise" or wants.revisions


def advantages_of(estimator: Estimator, batch: StepBatch) -> Advantages:
    """What the estimator gives to the N rows. Raises ConfigError where it is no `Advantages` of N numbers."""
    credit: Any = estimator(batch)
    if isinstance(credit, Advantages) and len(credit.value) == len(batch):
        return credit
    who = getattr(estimator, "__name__", type(estimator).__name__)
    given = f"{len(credit.value)} numbers" if isinstance(credit, Advantages) else type(credit).__name__
    raise ConfigError(
        f"estimator {who} returned {given} for {len(batch)} rows: return Advantages(value=...), one number a row"
    )


def scorer_of(config: TrainConfig) -> Scorer | None:
    """Build the scorer that the settings name; None where they name none.

    Raises ConfigError for an unknown scorer or option.
    """
    try:
        return build_scorer(config.scorer)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def twin_config_of(scorer: Scorer | None, policy: LearnerConfig) -> LearnerConfig | None:
    """How the scorer's twin is trained: as the policy, a step at a time, at the scorer's rate if it names one."""
    if not trains_twin(scorer):
        return None
    rate: float | None = getattr(scorer, "learning_rate", None)
    return replace(
        policy,
        learning_rate=policy.learning_rate if rate is None else rate,
        warmup_steps=0,
        decay_steps=None,
        optimizer_steps=1,
        rows_per_step=None,
        old_logprobs="learner",
        loss=LossConfig(kl_coef=0.0, clip_low=0.999, clip_high=1e6),  # no clip: rounding alone moves the ratio from 1
    )


def checked_estimator(config: TrainConfig) -> Estimator:
    """The estimator of a run. Raises ConfigError where the run's other settings cannot serve it."""
    estimator = estimator_of(config)
    wants = needs(estimator)
    if config.group_size == 1 and wants.group_based:
        raise ConfigError(
            f"group_size=1 with estimator.name={config.estimator['name']!r}, which compares the rollouts of a group: "
            "set group_size to 2 or more"
        )
    paid = getattr(estimator, "success_reward", None)
    if paid is not None and paid != config.rollout.success_reward:
        raise ConfigError(
            f"estimator.success_reward={paid} with rollout.success_reward={config.rollout.success_reward}: the "
            "estimator knows a success by its reward, so set both alike"
        )
    if trains_twin(scorer_of(config)):
        _check_twin(config)
    layer = _check_columns(config, wants)
    if config.learner.critic != CriticConfig() and not wants.critic:
        raise ConfigError(
            f"learner.critic={asdict(config.learner.critic)} with estimator.name={config.estimator['name']!r}, which "
            "has no critic: leave it out, or set estimator=ppo"
        )
    if wants.revisions and (config.learner.optimizer_steps or 1) > config.groups_per_update:
        # A mask may leave no more of a group than its worst rollout, and every optimizer step needs one to learn from.
        raise ConfigError(
            f"learner.optimizer_steps={config.learner.optimizer_steps} with groups_per_update="
            f"{config.groups_per_update} and estimator.name={config.estimator['name']!r}, which may leave one rollout "
            "of a group to learn from: lower the steps, or ask for more groups"
        )
    _check_retries(config, wants)
    if config.record == "embeddings" and layer is None:
        raise ConfigError(
            f"record='embeddings' with estimator.name={config.estimator['name']!r}, which asks for none: "
            "set record=rollouts, or estimator=bipace"
        )
    return estimator


def _check_twin(config: TrainConfig) -> None:
    """Raise ConfigError where a scorer's copy of the policy would learn nothing, or what is not there."""
    who = f"scorer {name_of(config.scorer)}"
    if config.group_size == 1:
        raise ConfigError(
            f"group_size=1 with {who}, which learns from pairs of a group's rollouts: set group_size to 2 or more"
        )
    if config.learner.old_logprobs != "learner":
        raise ConfigError(
            f"learner.old_logprobs={config.learner.old_logprobs!r} with {who}, whose log-ratios would hold the "
            "engine's roundings: set learner.old_logprobs=learner"
        )


def _check_retries(config: TrainConfig, wants: Needs) -> None:
    """Raise ConfigError where retries cannot be learned from, or a setting of them would do nothing."""
    revise, name, unread = config.revise, config.estimator["name"], ReviseConfig()
    if revise.mode == "revise":
        if revise.weight != unread.weight:
            raise ConfigError(
                f"revise.weight={revise.weight} with revise.mode='revise', which does not read it: set "
                "revise.mode=retry or intervene, or leave it out"
            )
        return
    mode = f"revise.mode={revise.mode!r}"
    if revise.credit != unread.credit:
        raise ConfigError(f"revise.credit={revise.credit} with {mode}, which does not read it: leave it out")
    if wants.revisions:
        raise ConfigError(
            f"{mode} with estimator.name={name!r}, which needs revisions: set revise.mode=revise, or estimator=grpo"
        )
    if config.group_size == 1:
        raise ConfigError(f"{mode} with group_size=1, so no failure has a sibling: set group_size to 2 or more")
    if config.learner.old_logprobs != "learner":
        raise ConfigError(
            f"{mode} with learner.old_logprobs={config.learner.old_logprobs!r}, but the step at a pivot was sampled "
            "from another prompt than it is learned with: set learner.old_logprobs=learner"
        )
    if config.record == "embeddings":
        raise ConfigError(f"{mode} with record='embeddings', which would mix in those of retries: set record=rollouts")
    if wants.critic:
        raise ConfigError(
            f"{mode} with estimator.name={name!r}, whose critic would learn from the steps alone that are kept, which "
            "the outcome decides: take estimator=grpo, or set revise.mode=revise"
        )


def _check_columns(config: TrainConfig, wants: Needs) -> int | None:
    """The layer whose hidden states the run reads. Raises ConfigError for a column that it cannot fill."""
    scorer, name = scorer_of(config), config.estimator["name"]
    if "step_reward" in wants.columns and scorer is None:
        raise ConfigError(
            f"estimator.name={name!r} credits step rewards, and the run has no scorer: set scorer=implicit or another"
        )
    if "step_reward" in wants.columns and getattr(scorer, "moves_outcome", False):
        raise ConfigError(
            f"estimator.name={name!r} credits step rewards by themselves, and scorer {name_of(config.scorer)} gives "
            "the world's reward another place: choose another scorer, or an estimator of returns, such as gigpo"
        )
    if missing := wants.columns - MADE_COLUMNS:
        raise ConfigError(
            f"estimator.name={name!r} needs the columns {sorted(missing)}, which no phase of a run makes: choose "
            "another estimator, or call it on columns of your own"
        )
    if scorer is not None and name in EPISODE_ALONE and config.estimator.get("episode_rewards") == "world":
        raise ConfigError(
            f"estimator.episode_rewards='world' with estimator.name={name!r}, which reads the rewards of scorer "
            f"{name_of(config.scorer)} nowhere else: leave it out, or choose another estimator, such as gigpo"
        )
    if "switch" in wants.columns and config.env.style != SUBGOALS:
        raise ConfigError(
            f"estimator.name={name!r} reads sub-goals, and env.style={config.env.style!r} asks for none: set "
            f"env.style={SUBGOALS}"
        )
    try:
        return layer_read(wants, scorer)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_milestones(estimator: Estimator, config: TrainConfig, world: World) -> None:
    """Raises ConfigError for an estimator of milestones in a world that counts none."""
    if "milestone" in needs(estimator).columns and world.env.reset(world.train[0]).milestone is None:
        raise ConfigError(
            f"estimator.name={config.estimator['name']!r} needs milestones, and env.world={config.env.world!r} counts "
            "none: choose another estimator, or set EnvStep.milestone in a world of your own"
        )


def check_scorer(config: TrainConfig, world: World) -> None:
    """Raises ConfigError for a scorer that cannot work in this world, or on this machine."""
    scorer = scorer_of(config)
    if isinstance(scorer, Checking):
        try:
            scorer.check(world.env, world.train[0])
        except ValueError as error:
            raise ConfigError(f"scorer {name_of(config.scorer)} (env.world={config.env.world!r}): {error}") from error
