"""The curves that an output folder holds, for a comparison of learning that goes on there."""

import json
from collections.abc import Set
from itertools import groupby
from pathlib import Path
from typing import Any

from trainer.config.build import ConfigError, build
from trainer.config.continuing import plain
from trainer.lab.learn.config import LearnConfig
from trainer.lab.learn.curve import Curve
from trainer.lab.learn.report import FILE

MAY_DIFFER = ("output", "resume", "estimators", "worlds")
"""Settings that change no curve: each has rollouts of its own seed, whatever else is trained."""


def kept_curves(output: Path, config: LearnConfig, labels: Set[str]) -> dict[tuple[str, str], list[Curve]]:
    """The curves by world and estimator, each by group size; none where nothing is there.

    Raises ConfigError where a file is broken, was made with other settings, or has curves that nobody asks for now.
    """
    path = output / FILE
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
        was, curves = values["config"], [build(Curve, curve) for curve in values["curves"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is broken ({error}): remove it") from error
    _check_settings(path, was, plain(config))
    by_place = {place: list(own) for place, own in groupby(curves, lambda curve: (curve.world, curve.estimator))}
    for world, label in by_place:
        if world not in config.names or label not in labels:
            raise ConfigError(
                f"{path} has curves of {label!r} in {world!r}, which would be lost: ask for both, or another output"
            )
    return by_place


def _check_settings(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if name not in MAY_DIFFER and was.get(name) != value:
            raise ConfigError(
                f"{path} was made with {name}={was.get(name)}, and now it is {value}: give the same, or another output"
            )
