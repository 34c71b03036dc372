"""The configs of the commands, composed as the commands compose them."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from trainer.commands.defaults import register
from trainer.config.commands import DemosConfig, EvaluateConfig, QuickstartConfig, TrainConfig, WarmstartConfig

CONFIGS = Path(__file__).parents[3] / "configs"
KINDS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "demos": DemosConfig,
    "warmstart": WarmstartConfig,
    "quickstart": QuickstartConfig,
}
PRESETS = {
    group: sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    for group in ("cluster", "env", "estimator", "model", "world_model")
}


@cache
def unresolved(name: str, *overrides: str) -> DictConfig:
    """configs/`name`.yaml with overrides, with its interpolations. Do not change it: it is shared."""
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, overrides=["output=out", *overrides])


@cache
def _composed(name: str, *overrides: str) -> dict[str, Any]:
    return OmegaConf.to_container(unresolved(name, *overrides), resolve=True)  # pyright: ignore[reportReturnType]


def composed(name: str, *overrides: str) -> dict[str, Any]:
    """configs/`name`.yaml with overrides, as the command sees it."""
    return deepcopy(_composed(name, *overrides))


@pytest.fixture(scope="module")
def plain_train() -> dict[str, Any]:
    return composed("train")


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    values = deepcopy(values)
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[name] = value
    return values
