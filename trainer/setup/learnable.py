"""What a learner's settings ask of the model and of this machine, checked before anything loads."""

import os
import shutil
import sysconfig
from pathlib import Path

from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ClusterConfig, ModelConfig
from trainer.setup.adapted import check_targets
from trainer.setup.packing import check_packing
from trainer.setup.positions import check_positions

COMPILERS = {"cpu": ("CXX", ("g++",)), "cuda": ("CC", ("gcc", "clang"))}
"""By the learner's device: the variable that names the compiler, and those that are taken without it."""


def check_learnable(config: LearnerConfig, model: ModelConfig, cluster: ClusterConfig) -> None:
    """Raise ConfigError for packing, adapters, lengths and compilation that cannot be had."""
    check_packing(config, model)
    check_positions(model)
    check_targets(config, model)
    if config.compile == "layers" and cluster.address is None:  # the ranks of a cluster compile on their own nodes
        _check_compiler(config)


def _check_compiler(config: LearnerConfig) -> None:
    """Raise ConfigError where torch finds no compiler, or no Python.h, which its kernels include."""
    variable, names = COMPILERS[config.device]
    compilers = (os.environ[variable],) if os.environ.get(variable) else names
    if not any(map(shutil.which, compilers)):
        raise ConfigError(
            f"learner.compile='layers', but this machine has no compiler ({' or '.join(compilers)}): install one, "
            f"name it with {variable}=..., or take learner.compile=none"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise ConfigError(
            f"learner.compile='layers', but this machine has no {header}: install Python's headers, or take "
            "learner.compile=none"
        )
