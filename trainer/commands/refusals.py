"""What is wrong with a command line, in one line that names the value and the nearest name that exists."""

import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from envs.base import hint
from trainer.config.build import ConfigError

APPEND = "config use +"  # Hydra's advice ends with this and the override


def refusal(error: Exception, config_class: Any) -> str:
    """The line for an error that Hydra raised while it composed; other errors speak for themselves."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return no_such_choice(group, choice, error.options)
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.full_key, str):
        override = str(error).partition(APPEND)[2] or cause.full_key
        return _no_such_setting(cause.full_key, override, _keys(cause.parent_node), config_class)
    return str(error)


def no_such_choice(group: str, choice: str, choices: Sequence[str]) -> str:
    """The line for `group=choice`: the nearest choice, and all of them."""
    near = get_close_matches(choice, choices, n=1)
    question = f" did you mean {near[0]!r}?" if near else ""
    return f"there is no {group}={choice}:{question} choose one of {', '.join(choices)}"


def nearest_setting(config_class: Any, key: str, siblings: Iterable[str] = ()) -> str | None:
    """The dotted setting of `config_class` that a misspelt dotted `key` is nearest to; None where nothing is near.

    siblings: further names beside the last part of `key`, such as the options of a world, which no dataclass lists.
    """
    above, _, last = key.rpartition(".")
    known = list(settings(config_class))
    beside = {name.removeprefix(f"{above}.").partition(".")[0] for name in known if name.startswith(f"{above}.")}
    if not above:
        beside = {name.partition(".")[0] for name in known}
    if near := get_close_matches(last, sorted({*beside, *siblings}), n=1):
        return f"{above}.{near[0]}" if above else near[0]
    by_last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = get_close_matches(last, by_last, n=1)
    return by_last[near[0]] if near else None


def settings(config_class: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted setting of a dataclass, groups before what they hold."""
    hints = get_type_hints(config_class)
    for field in fields(config_class):
        name = f"{prefix}{field.name}"
        yield name
        for kind in _kinds(hints[field.name]):
            if is_dataclass(kind):
                yield from settings(kind, f"{name}.")


def check_names(folder: Path, ours: Path) -> None:
    """Raises ConfigError for a user's file that has the name of one of `ours`: Hydra would read ours instead."""
    for file in sorted(folder.glob("*/**/*.yaml")):
        same = ours / file.relative_to(folder)
        if same.is_file() and same.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"{file} has the name of one of stepcredit's own configs, which would be read instead: rename yours"
            )


def _no_such_setting(key: str, override: str, siblings: list[str], config_class: Any) -> str:
    if key in settings(config_class):
        return f"{override}: the setting is not in this command's YAML; add it with +{override}"
    near = nearest_setting(config_class, key, siblings)
    if near is not None:
        return f"unknown setting {override}: did you mean {near!r}?"
    return f"unknown setting {override}: {hint(key, siblings)}" if siblings else f"unknown setting {override}"


def _keys(node: Any) -> list[str]:
    """The keys of an OmegaConf node, without Hydra's own."""
    return [str(key) for key in node if key != "hydra"] if hasattr(node, "keys") else []


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
