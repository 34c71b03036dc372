"""The defaults of each command for Hydra."""

from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from trainer.config.commands import (
    DemosConfig,
    EvaluateConfig,
    TrainConfig,
    WarmstartConfig,
)
from trainer.config.compare import CompareConfig
from trainer.config.defaults import defaults_of
from trainer.config.showing import DoctorConfig, PanelConfig
from trainer.tables.config import TableConfig

COMMANDS: Mapping[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "demos": DemosConfig,
    "doctor": DoctorConfig,
    "panel": PanelConfig,
    "warmstart": WarmstartConfig,
    "table": TableConfig,
}


def register(config: type = object) -> None:
    """Make `train_defaults`, `evaluate_defaults` and so on known to Hydra. Call it before anything is composed.

    A command's YAML names its defaults first, so that every setting is there and can be overridden without `+`.
    config: the command's own; only what it is built on is known then, because Hydra copies all that it knows for every
    group that it looks into (over 200 times for `--help`). A table composes the other commands, so all are known to it.
    """
    OmegaConf.register_new_resolver("on_gpus", on_gpus, replace=True)
    OmegaConf.register_new_resolver("times", times, replace=True)
    store = ConfigStore.instance()
    for name, kind in COMMANDS.items():
        known = f"{name}_defaults.yaml" in store.repo  # by a command before this one in the same process
        wanted = config in (object, TableConfig) or issubclass(config, kind)
        if wanted and not known:
            store.store(name=f"{name}_defaults", node=defaults_of(kind), provider="stepcredit")
        elif known and not wanted:
            del store.repo[f"{name}_defaults.yaml"]


def on_gpus(value: Any, *, _root_: DictConfig) -> Any:
    """In YAML, ${on_gpus:VALUE}: the value where cluster.device is cuda, null on a CPU."""
    return value if _root_.cluster.device == "cuda" else None


def times(factor: float, value: float) -> float:
    """In YAML, ${times:FACTOR,VALUE}: their product."""
    return factor * value
