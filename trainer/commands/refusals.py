"""What is wrong with a command line, in one line that names the value and the nearest name that exists."""

import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from trainer.commands.table import CONFIGS, Command, name_of, named
from trainer.config.build import ConfigError, has_setting, nearest_setting, value_above

NO_GROUP = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")  # the command has no such group
SEVERAL = re.compile(r"Ambiguous value for argument '([^=']+)=([^']*)'")  # a,b without --multirun
NO_VARIABLE = re.compile(r"Environment variable '(\w+)' not found")
ADVICE = "To append to your config use +"  # Hydra's message ends with this and the override


def refusal(error: Exception, config_class: Any) -> str:
    """The line for an error of Hydra's composition: a choice or a setting that does not exist, else its own message."""
    if isinstance(error, MarkedYAMLError):
        return f"{_place_in(error)}: {error.problem or error.context}: mend the file"
    if several := SEVERAL.match(str(error)):
        name, values = several.groups()
        return f"{name}={values} is several values: add --multirun to run each, or write {name}=[{values}] for a list"
    if isinstance(error, OmegaConfBaseException) and (variable := NO_VARIABLE.search(str(error))):
        unset = f"{error.full_key} takes the environment variable {variable[1]}, which is not set"
        return f"{unset}: export it, or give {error.full_key}=..."
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, ConfigError):
        return str(error.__cause__)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, str(error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        hydras, file = error.missing_cfg_file.startswith("hydra/"), error.missing_cfg_file.removeprefix("hydra/")
        group, _, choice = file.partition("/")
        group = f"hydra/{group}" if hydras else group
        return no_such_choice(group, choice, error.options)
    if isinstance(error, HydraException) and (group := NO_GROUP.match(str(error))):
        word = next((word for word in sys.argv[1:] if word.startswith(f"{group[1]}=")), group[1])
        if has_setting(config_class, group[1]):
            return f"{word}: this command has no group {group[1]!r}, only its settings: {group[1]}.NAME=VALUE"
        return f"unknown setting {word}: {nearest_setting(config_class, group[1])}"
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.full_key, str):
        override = str(error).partition(ADVICE)[2] or cause.full_key
        # Of `learner.los.kl_coef=1` OmegaConf names `learner.los`, of `learner={los:1}` too.
        key = max(override.partition("=")[0], cause.full_key, key=len)
        siblings = _names_in(cause.parent_node) if key == cause.full_key else ()
        return f"unknown setting {override}: {nearest_setting(config_class, key, siblings)}"
    words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if value_above(config_class, key):
            return f"unknown setting {word}: {nearest_setting(config_class, key)}"
    # A bare error of Hydra or OmegaConf says nothing about where it happened.
    own = isinstance(error, HydraException | OmegaConfBaseException | ConfigError)
    return str(error) if own else f"{' '.join(words)}: {error}"


def _place_in(error: MarkedYAMLError) -> str:
    """File, line and column of what is wrong in a YAML file."""
    mark = error.problem_mark or error.context_mark
    return "a YAML file" if mark is None else f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"


def _unreadable(word: str, message: str) -> str:
    """The line for a word that Hydra's grammar does not know, with the form to type. message: Hydra's own."""
    name, equals, value = word.partition("=")
    if not equals:
        place = ", or put it before all settings where the command takes it" if Path(word).exists() else ""
        return f"{word!r} is no setting: write NAME=VALUE{place}"
    if value[:1] in ("[", "{", '"', "'"):
        return f"cannot read {word!r}: {message}"
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    form = shlex.quote(f'{name}="{quoted}"')
    return (
        f"cannot read {word!r}: a text with other characters than letters, digits and /-_.+:@% needs quotes of its "
        f"own, inside those of the shell: write {form}"
    )


def check_options(command: Command, words: Sequence[str]) -> None:
    """Raises ConfigError for an option that Hydra's parser does not take: it would print a page of its own.

    Options that print and leave, such as --version, do so here.
    """
    parser, printed = get_args_parser(), StringIO()
    try:
        with redirect_stderr(printed):
            parser.parse_args(words)
    except SystemExit as end:
        if not end.code:
            raise
        _, _, wrong = printed.getvalue().strip().rpartition("error: ")
        _, unknown, options = wrong.partition("unrecognized arguments: ")
        flags = [option for action in parser._actions for option in action.option_strings]
        raise ConfigError(
            _no_such_option(options.split(" ")[0], command, flags)
            if unknown
            else f"{wrong.removeprefix('argument ')}: see stepcredit {name_of(command)} --help"
        ) from None


def _no_such_option(word: str, command: Command, known: Sequence[str]) -> str:
    """The line for an option that nobody knows: the nearest one, or the setting that was meant."""
    option, _, value = word.partition("=")
    setting = option.lstrip("-")
    config_class: Any = named(command.config)
    if near := get_close_matches(option, [*known, *command.flags], n=1, cutoff=0.8):
        remedy = f"did you mean {near[0]!r}?"
    elif has_setting(config_class, setting):
        remedy = f"settings are written without dashes: {setting}={value or '...'}"
    elif "did you mean" in (nearest := nearest_setting(config_class, setting)):
        remedy = f"settings are written without dashes, {nearest}"
    else:
        remedy = f"see stepcredit {name_of(command)} --help"
    return f"there is no option {word}: {remedy}"


def no_such_choice(group: str, choice: str, choices: Sequence[str]) -> str:
    """The line for `group=choice`: the nearest of the choices and of the files in their folders, then all choices."""
    folders = (CONFIGS / group).glob("*/**/*.yaml")
    nested = [file.relative_to(CONFIGS / group).with_suffix("").as_posix() for file in folders]
    by_small = {name.lower(): name for name in (*choices, *nested)}
    near = get_close_matches(choice.lower(), by_small, n=1)
    question = f" did you mean {by_small[near[0]]!r}?" if near else ""
    others = "; a hub id, a folder or a served model is model.source=..." if group == "model" else ""
    return f"there is no {group}={choice}:{question} choose one of {', '.join(choices)}{others}"


def check_names(folder: Path) -> None:
    """Raises ConfigError for a user's file with the name of one of ours, which Hydra would read in its place."""
    for file in sorted(folder.glob("*/**/*.yaml")):
        same = CONFIGS / file.relative_to(folder)
        if same.is_file() and same.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"{file} has the name of one of stepcredit's own configs, which would be read instead: rename yours"
            )


def _names_in(node: Any) -> list[str]:
    """The names in an OmegaConf node, without Hydra's own."""
    return [str(name) for name in node if name != "hydra"] if hasattr(node, "keys") else []
