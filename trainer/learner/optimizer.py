"""AdamW and the schedule of its rate, as the learner's settings say."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from trainer.config.learner import LearnerConfig


def optimizer_of(config: LearnerConfig, policy: nn.Module) -> tuple[torch.optim.AdamW, LambdaLR]:
    """AdamW over the policy. On CUDA one fused kernel: torch's default there takes 4 bytes a parameter for a moment."""
    fused = True if config.device == "cuda" else None
    groups = _decay_groups(policy, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)
    return optimizer, LambdaLR(optimizer, partial(_rate, config))


def group_settings(optimizer: torch.optim.AdamW) -> list[dict[str, Any]]:
    """Betas and weight decay of each group of parameters."""
    return [{name: group[name] for name in ("betas", "weight_decay")} for group in optimizer.param_groups]


def keep_own(
    config: LearnerConfig, optimizer: torch.optim.AdamW, schedule: LambdaLR, groups: Sequence[dict[str, Any]]
) -> None:
    """Put the config's settings in the place of those that a checkpoint brought: a fork has others.

    groups: as `group_settings` told before the checkpoint was loaded.
    """
    rate = config.learning_rate * _rate(config, schedule.last_epoch)
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group.update(own, lr=rate)
    schedule.base_lrs = [config.learning_rate] * len(groups)
    schedule._last_lr = [rate] * len(groups)


def _rate(config: LearnerConfig, step: int) -> float:
    """Factor on the learning rate at optimizer step `step`, from 0: linear warmup, then constant or linear decay."""
    if step < config.warmup_steps or config.decay_steps is None:
        return min(1.0, (step + 1) / (config.warmup_steps + 1))
    return max(0.0, 1.0 - (step - config.warmup_steps) / config.decay_steps)


def _decay_groups(policy: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: matrices get weight decay, norms and biases do not."""
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]  # an adapter has matrices only
