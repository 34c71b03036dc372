"""The config of another command as Hydra composes it, with what of it is missing on this machine."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.commands.refusals import refusal
from trainer.commands.table import COMMANDS, named
from trainer.config.build import build

FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:(\w+)\}")


def composed_config(name: str, words: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """The config of `stepcredit NAME WORDS` and what is missing, each with the setting that lacks it; (None, why) for
    one that cannot be composed.

    An environment variable that is not set is missing; the setting then holds its name.
    """
    command = COMMANDS[name]
    config_class: Any = named(command.config)
    try:
        composed = hydra.compose(command.yaml, overrides=list(words))
        lacking = dict(_without_environment(composed))
        values: Any = OmegaConf.to_container(composed, resolve=True)
        return build(config_class, {**values, "output": values["output"] or ""}), lacking
    except (ValueError, TypeError, LookupError, HydraException, OmegaConfBaseException) as error:
        return None, {refusal(error, config_class): ""}


def _without_environment(composed: DictConfig) -> Iterator[tuple[str, str]]:
    """Put `$NAME` in the place of each environment variable that is not set, and say which, with the setting."""
    for key, value in list(_leaves(OmegaConf.to_container(composed, resolve=False))):
        if missing := [name for name in FROM_ENVIRONMENT.findall(value) if name not in os.environ]:
            OmegaConf.update(composed, key, FROM_ENVIRONMENT.sub(r"$\1", value))
            yield from ((f"environment variable {name}, which {key} takes", key) for name in missing)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of nested settings, by its dotted name."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    elif isinstance(values, str):
        yield path, values
