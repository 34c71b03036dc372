"""Under which names a run stands among others at Weights & Biases."""

from dataclasses import replace
from pathlib import PurePath

from trainer.config.commands import TrainConfig
from trainer.config.settings import LogConfig

LONGEST_TAG, LONGEST_GROUP = 64, 128
"""Characters; wandb refuses longer ones."""


def labelled(config: TrainConfig) -> LogConfig:
    """The run's settings of its logs, with a group and tags of its own where none are given."""
    log = config.log
    names = [log.experiment, config.env.world, model_name(config.model.source), config.estimator["name"]]
    labels = [name for name in names if name]
    tags = tuple(label[-LONGEST_TAG:] for label in (*labels, f"seed={config.seed}"))
    return replace(
        log,
        group=log.group or " ".join(labels)[:LONGEST_GROUP],
        tags=tuple(dict.fromkeys(tags)) if log.tags is None else log.tags,
    )


def model_name(source: str) -> str:
    """The part of a model's source that tells it from others.

    >>> model_name("Qwen/Qwen2.5-7B-Instruct"), model_name("runs/first/checkpoints/update-000025/model")
    ('Qwen2.5-7B-Instruct', 'first/update-000025')
    """
    parts = [part for part in PurePath(source).parts if part not in ("model", "checkpoints")]
    if not parts:
        return source
    return "/".join(parts[-2:] if parts[-1].startswith("update-") else parts[-1:])
