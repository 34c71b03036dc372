"""What is wrong with a command line, in one line that names the value and the nearest name that exists."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from trainer.config.build import ConfigError, nearest_setting

APPEND = "config use +"  # Hydra's advice ends with this and the override


def refusal(error: Exception, config_class: Any) -> str:
    """The line for an error that Hydra raised while it composed; other errors speak for themselves."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return no_such_choice(group, choice, error.options)
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.full_key, str):
        override = str(error).partition(APPEND)[2] or cause.full_key
        nearest = nearest_setting(config_class, cause.full_key, _plain(cause.parent_node))
        return f"unknown setting {override}: {nearest}"
    return str(error)


def no_such_choice(group: str, choice: str, choices: Sequence[str]) -> str:
    """The line for `group=choice`: the nearest choice, and all of them."""
    near = get_close_matches(choice, choices, n=1)
    question = f" did you mean {near[0]!r}?" if near else ""
    return f"there is no {group}={choice}:{question} choose one of {', '.join(choices)}"


def check_names(folder: Path, ours: Path) -> None:
    """Raises ConfigError for a user's file that has the name of one of `ours`: Hydra would read ours instead."""
    for file in sorted(folder.glob("*/**/*.yaml")):
        same = ours / file.relative_to(folder)
        if same.is_file() and same.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"{file} has the name of one of stepcredit's own configs, which would be read instead: rename yours"
            )


def _plain(node: Any) -> Mapping[str, Any]:
    """The composed config that holds the refused key, without Hydra's own settings."""
    root = node
    while getattr(root, "_get_parent", None) is not None and root._get_parent() is not None:
        root = root._get_parent()
    values = OmegaConf.to_container(root, resolve=False) if OmegaConf.is_config(root) else {}
    return {str(key): value for key, value in dict(values).items() if key != "hydra"}  # pyright: ignore
