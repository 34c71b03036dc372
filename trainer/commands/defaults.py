"""The defaults of each command for Hydra."""

from collections.abc import Mapping

from hydra.core.config_store import ConfigStore

from trainer.config.commands import DemosConfig, DoctorConfig, EvaluateConfig, TrainConfig, WarmstartConfig
from trainer.config.defaults import defaults_of

COMMANDS: Mapping[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "demos": DemosConfig,
    "doctor": DoctorConfig,
    "warmstart": WarmstartConfig,
}


def register() -> None:
    """Make `train_defaults`, `evaluate_defaults` and so on known to Hydra. Call it before anything is composed.

    A command's YAML names its defaults first, so that every setting is there and can be overridden without `+`.
    """
    for name, config in COMMANDS.items():
        ConfigStore.instance().store(name=f"{name}_defaults", node=defaults_of(config), provider="stepcredit")
