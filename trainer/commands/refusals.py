"""What is wrong with a command line, in one line that names the value and the nearest name that exists."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from trainer.commands.table import CONFIGS
from trainer.config.build import ConfigError

ADVICE = "To append to your config use +"  # Hydra's message ends with this and the override


def refusal(error: Exception, config_class: Any) -> str:
    """The line for an error of Hydra's composition: a choice or a setting that does not exist, else its own message."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return no_such_choice(group, choice, error.options)
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.full_key, str):
        override = str(error).partition(ADVICE)[2] or cause.full_key
        # Of `learner.los.kl_coef=1` OmegaConf names `learner.los`, of `learner={los:1}` too.
        key = max(override.partition("=")[0], cause.full_key, key=len)
        group = cause.full_key.rpartition(".")[0]
        return f"unknown setting {override}: {nearest_setting(config_class, key, _nested(group, cause.parent_node))}"
    return str(error)


def no_such_choice(group: str, choice: str, choices: Sequence[str]) -> str:
    """The line for `group=choice`: the nearest of the choices and of the files in their folders, then all choices."""
    folders = (CONFIGS / group).glob("*/**/*.yaml")
    nested = [file.relative_to(CONFIGS / group).with_suffix("").as_posix() for file in folders]
    near = get_close_matches(choice, [*choices, *nested], n=1)
    question = f" did you mean {near[0]!r}?" if near else ""
    return f"there is no {group}={choice}:{question} choose one of {', '.join(choices)}"


def nearest_setting(config_class: Any, key: str, composed: Mapping[str, Any]) -> str:
    """The end of a refusal of the dotted `key`: a correction, or the names that are known.

    `composed` holds the names in groups that no dataclass lists, such as the options of a world.
    """
    names = [*settings(config_class), *_dotted(composed)]
    if key in names:
        return f"the setting is not in this command's YAML; add it with +{key}=..."
    parts, corrected = key.split("."), ""
    for depth, part in enumerate(parts):
        beside = {name.split(".")[depth] for name in names if name.startswith(corrected) and name.count(".") >= depth}
        near = [part] if part in beside else get_close_matches(part, sorted(beside), n=1)
        if not near:
            break
        corrected += f"{near[0]}."
    else:
        return f"did you mean {corrected[:-1]!r}?"
    by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
    if near := get_close_matches(parts[-1], by_last, n=1):
        return f"did you mean {by_last[near[0]]!r}?"
    return f"known: {', '.join(sorted(beside))}"


def settings(config_class: Any, start: str = "") -> Iterator[str]:
    """Every dotted setting of a dataclass, a group before the settings it holds."""
    hints = get_type_hints(config_class)
    for field in fields(config_class):
        name = f"{start}{field.name}"
        yield name
        for kind in _members(hints[field.name]):
            if is_dataclass(kind):
                yield from settings(kind, f"{name}.")


def check_names(folder: Path) -> None:
    """Raises ConfigError for a user's file with the name of one of ours, which Hydra would read in its place."""
    for file in sorted(folder.glob("*/**/*.yaml")):
        same = CONFIGS / file.relative_to(folder)
        if same.is_file() and same.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"{file} has the name of one of stepcredit's own configs, which would be read instead: rename yours"
            )


def _nested(group: str, node: Any) -> dict[str, Any]:
    """The names in `node`, an OmegaConf node at the dotted `group`, as the composed config would hold them."""
    held: dict[str, Any] = {str(key): None for key in node if key != "hydra"} if hasattr(node, "keys") else {}
    return reduce(lambda inner, name: {name: inner}, reversed(group.split(".") if group else []), held)


def _dotted(values: Mapping[str, Any], start: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{start}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{start}{key}.")


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
