"""What `stepcredit fork` composes on: the settings of the run that its words name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.defaults import defaults_of
from trainer.config.earlier import ForkConfig
from trainer.setup.past_run import settings_to_fork

GROUPS = ("env", "estimator", "protocol")
"""Groups whose presets may be chosen, or taken out with "~": the run's settings of the group go."""


def register_run(words: Sequence[str]) -> None:
    """Make the settings of the run known to Hydra as `fork_defaults`. Raises ConfigError for a folder without a run."""
    settings = [word for word in words if "=" in word and not word.startswith("-")]
    chosen = {
        override.key_or_group: override.value() for override in OverridesParser.create().parse_overrides(settings)
    }
    defaults = defaults_of(ForkConfig)
    if isinstance(run := chosen.get("run"), str):
        defaults |= settings_to_fork(Path(run).absolute())
        fresh: dict[str, Any] = defaults_of(TrainConfig)
        left = {word.removeprefix("~") for word in words if word.startswith("~")}
        defaults |= {group: fresh[group] for group in GROUPS if group in chosen or group in left}
        if "experiment" in chosen:
            defaults["log"] = {**defaults["log"], "experiment": None}
    elif "run" in chosen:
        raise ConfigError(f"run={run}: a fork begins with one run; start the command for each")
    elif not any(word.startswith("-") for word in words):  # such as --help
        raise ConfigError("run is not set: write stepcredit fork RUN_DIR update=N")
    ConfigStore.instance().store(name="fork_defaults", node=defaults, provider="stepcredit")
