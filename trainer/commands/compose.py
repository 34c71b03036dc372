"""Hydra for all commands: compose the YAML with the command line, build the config, plan, run; refuse in one line.

Groups are looked for in three places: the package's configs, `configs/` in the working folder, and `--config-dir DIR`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.base import EnvError
from rollout.collect import RolloutsFailed
from rollout.ray_actors import ActorDied
from trainer.commands.defaults import register
from trainer.commands.refusals import check_names, no_such_choice, refusal
from trainer.commands.table import CONFIGS, Command, named
from trainer.config.build import ConfigError, ModelError, build
from trainer.learner.first_ratio import RatioNotOne
from trainer.report.progress import Display

USERS_FOLDER = "configs"  # in the working folder
REFUSED = (ConfigError, ModelError, EnvError, HydraException, OmegaConfBaseException)
FAILED = (RolloutsFailed, ActorDied, RatioNotOne)


def execute(command: Command) -> None:
    """Run `command` with the words of sys.argv. Exit code 2 for what is refused, 1 for a run that fails."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing a page and leaving with code 1
    register()
    Plugins.instance().register(UsersConfigs)
    config_class = named(command.config)

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=command.yaml)
    def body(composed: DictConfig) -> None:
        try:
            _check_groups()
            config = build(config_class, OmegaConf.to_container(composed, resolve=True))  # pyright: ignore
            plan = named(command.plan)(config)
            named(command.run)(plan, Display())  # imported only now: a refusal does not wait for torch
        except REFUSED as error:
            leave(2, str(error))
        except FAILED as error:
            leave(1, str(error))
        finally:
            _drop_if_empty(Path(HydraConfig.get().runtime.output_dir))

    try:
        body()
    except REFUSED as error:  # of the command line itself
        leave(2, refusal(error, config_class))


class UsersConfigs(SearchPathPlugin):
    """Adds `configs/` of the working folder to the places where Hydra looks for groups."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folder = Path.cwd() / USERS_FOLDER
        if folder.is_dir() and folder.resolve() != CONFIGS:
            search_path.append(provider="working-folder", path=f"file://{folder}")


class AfterSweep(Callback):
    """Calls the function that a config names as "module:function" at the end of a multirun, with the sweep's folder."""

    def __init__(self, run: str) -> None:
        self._run = run

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        named(self._run)(Path(config.hydra.sweep.dir).absolute(), Display())


def _check_groups() -> None:
    """Raises ConfigError for a choice that no group has, and for a user's file that hides behind one of ours.

    Hydra itself passes over a wrong choice of an optional group.
    """
    loader = GlobalHydra.instance().config_loader()
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        group, choice = override.key_or_group, override.value()
        choices = loader.get_group_options(group)
        folder, _, name = f"{group}/{choice}".rpartition("/")  # a choice may lie in a folder: compat/verl_agent_grpo
        if choices and isinstance(choice, str) and name not in loader.get_group_options(folder):
            raise ConfigError(no_such_choice(group, choice, choices))
    for element in loader.get_search_path().get_path():
        if element.provider in ("working-folder", "command-line") and element.path is not None:
            check_names(Path(element.path.removeprefix("file://")))


def leave(code: int, text: str) -> None:
    """Write one line to standard error and exit."""
    sys.stderr.write(f"stepcredit: {' '.join(text.split())}\n")
    raise SystemExit(code)


def _drop_if_empty(folder: Path) -> None:
    """Remove an empty output folder and its empty parents: Hydra makes it before anything is checked."""
    here = Path.cwd()
    if folder != here and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        if here in folder.parents:
            _drop_if_empty(folder.parent)
