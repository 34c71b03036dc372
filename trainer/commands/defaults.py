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


class Known(dict[str, Any]):
    """What Hydra's store knows. Hydra copies it for every group that it looks into, over 200 times for `--help`.

    It changes nothing in such a copy, and copies again each config that it takes out, so the first copy is left out.
    """

    def __deepcopy__(self, memo: object) -> "Known":
        return self


def register() -> None:
    """Make `train_defaults`, `evaluate_defaults` and so on known to Hydra. Call it before anything is composed.

    A command's YAML names its defaults first, so that every setting is there and can be overridden without `+`.
    """
    OmegaConf.register_new_resolver("on_gpus", on_gpus, replace=True)
    OmegaConf.register_new_resolver("times", times, replace=True)
    store = ConfigStore.instance()
    if isinstance(store.repo, Known):
        return
    for name, kind in COMMANDS.items():
        store.store(name=f"{name}_defaults", node=defaults_of(kind), provider="stepcredit")
    store.repo = Known(store.repo)


def on_gpus(value: Any, *, _root_: DictConfig) -> Any:
    """In YAML, ${on_gpus:VALUE}: the value where cluster.device is cuda, null on a CPU."""
    return value if _root_.cluster.device == "cuda" else None


def times(factor: float, value: float) -> float:
    """In YAML, ${times:FACTOR,VALUE}: their product."""
    return factor * value
