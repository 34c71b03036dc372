"""Hydra for all commands: compose the YAML with the command line, build the config, plan, run; refuse in one line.

Groups are looked for in three places: the package's configs, `configs/` in the working folder, and `--config-dir DIR`.
"""

import errno
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from envs.base import EnvError
from rollout.collect import RolloutsFailed
from rollout.held import StartFailed
from rollout.placement import NoPlace
from rollout.ray_actors import ActorDied, ActorTimeout
from rollout.ray_cluster import NoCluster, RayFailed
from rollout.seats import EnginesLost
from rollout.weights import PublishError
from trainer.commands.defaults import register
from trainer.commands.interrupt import Interrupted, Interruption
from trainer.commands.outputs import SweepFolder, claimed, now, plain_name
from trainer.commands.refusals import check_names, check_options, no_such_choice, refusal
from trainer.commands.search import OptunaSweeper
from trainer.commands.sweep import CellLauncher, Sweep
from trainer.commands.table import CONFIGS, Command, name_of, named
from trainer.config.build import ConfigError, ModelError, build
from trainer.learner.driver import OutOfMemory
from trainer.learner.first_ratio import RatioNotOne
from trainer.report.progress import Display
from trainer.saver import CheckpointFailed

USERS_FOLDER = "configs"  # in the working folder
PARTS = "parts"
WIDTH, NO_BREAK = 80, "\N{NO-BREAK SPACE}"  # of --help
REFUSED = (ConfigError, ModelError, EnvError, NoCluster, NoPlace, HydraException, OmegaConfBaseException)
FAILED = (
    *(RolloutsFailed, RayFailed, ActorDied, ActorTimeout, EnginesLost, PublishError),
    *(OutOfMemory, RatioNotOne, FloatingPointError, CheckpointFailed),
)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
GO_ON = "trainer.setup.go_on:how_to_go_on"


def execute(command: Command, interruption: Interruption) -> None:
    """Run `command` with the words of sys.argv. Exit code 2 for what is refused, 1 for a run that fails.

    What fails under an interruption fails because its parts were ended, so the interruption has the last word.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing a page and leaving with code 1
    config_class: Any = named(command.config)
    register()
    for plugin in (UsersConfigs, CellLauncher, OptunaSweeper):
        Plugins.instance().register(plugin)
    CellLauncher.sweep = sweep = Sweep(command, interruption)
    sweep_folder = SweepFolder()
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("plain_name", plain_name, replace=True)
    OmegaConf.register_new_resolver("command_usage", partial(_usage, command), replace=True)
    OmegaConf.register_new_resolver("command_groups", _groups, replace=True)
    composing = True  # until the first job runs

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=command.yaml)
    def body(composed: DictConfig) -> None:
        nonlocal composing
        composing = False
        _hush_libraries()
        try:
            _check_groups()
            values: Any = _with_experiment(OmegaConf.to_container(composed, resolve=True))
            display = Display()
            with display.beating(), _place(command, config_class, values) as config:
                with display.doing("opening the world"):
                    plan = named(command.plan)(config)
                interruption.remedy = partial(named(GO_ON), config)
                named(command.run)(plan, display)  # imported only now: a refusal does not wait for torch
        except (*REFUSED, *FAILED, StartFailed, OSError) as error:
            if interruption.number is None:
                _leave_for(error, interruption.remedy, command)
            raise Interrupted from error
        finally:
            _drop_if_empty(Path(HydraConfig.get().runtime.output_dir))

    try:
        sys.argv[1:] = sweep.take(sys.argv[1:])
        sweep_folder.path = sweep.resumed
        check_options(command, sys.argv[1:])
        named_by = command.positional or command.positionals
        if command.asks and not any(word.startswith(("-", f"{named_by}=")) for word in sys.argv[1:]):
            raise ConfigError(command.asks)
        if command.base is not None:
            named(command.base)(sys.argv[1:])
        body()
        if (line := sweep.tell(Display())) is not None:
            leave(sweep.code, line)
    except REFUSED as error:  # of the command line itself
        leave(2, refusal(error, config_class))
    except (ValueError, TypeError, LookupError, AttributeError, OSError, YAMLError) as error:
        if sweep.folder is not None and isinstance(error, OSError) and (error.filename or error.errno in NO_ROOM):
            leave(1, f"{error.filename or 'a file of the sweep'}: {error.strerror}; go on with {sweep.how_to_go_on}")
        if not composing:
            raise
        # Hydra and OmegaConf raise such errors for words that they cannot place and files that they cannot read.
        leave(2, refusal(error, config_class))
    finally:
        sweep_folder.drop_if_unused()


def _hush_libraries() -> None:
    """Hydra prints the notes of every library, such as matplotlib's on its cache of fonts: keep its own alone."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("hydra").setLevel(logging.INFO)


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


@contextmanager
def _place(command: Command, config_class: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """Build the config and hold the place that it writes to. Yields the config with this place as its `output`."""
    if command.output is None:
        yield build(config_class, {**values, "output": values.get("output") or ""} if "output" in values else values)
        return
    chosen = values.get("output") or None
    config = build(config_class, {**values, "output": chosen or command.output.default})
    hydras = Path(HydraConfig.get().runtime.output_dir)  # the working folder, or a folder for each job of a sweep
    world = config.env.world if hasattr(config, "env") else ""
    name = getattr(config, "name", "")
    default = Path.cwd() / command.output.default.format(now=now(), world=world, name=name)
    if hydras != Path.cwd() and command.output.leaves:
        default = hydras
    resumes = command.output.resumable and config.resume == "auto"
    if resumes and chosen is None and command.output.numbered and default != hydras:
        raise ConfigError("resume='auto' without output, and a new folder has nothing to go on with: add output=FOLDER")
    with claimed(Path(chosen or default), command.output, chosen=chosen is not None, resumes=resumes) as place:
        yield replace(config, output=str(place))


def _with_experiment(values: Any) -> Any:
    """The settings, with the experiment that was chosen as the one that the logs name."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    log = values.get("log")
    return {**values, "log": {**log, "experiment": log["experiment"] or chosen}} if log and chosen else values


def _usage(command: Command) -> str:
    """What --help says first: what the command does, and how it is called."""
    about, _, called = command.help.partition(": stepcredit ")
    name = name_of(command)
    flags = [f"[{flag}]" for flag in command.flags]
    groups = ["[GROUP=CHOICE ...]"] if _taken_groups() else []
    whole = [word.replace(" ", NO_BREAK) for word in (*flags, *groups, "[SETTING=VALUE ...]")]
    usage = textwrap.fill(f"usage: stepcredit {called or name} {' '.join(whole)}", WIDTH, subsequent_indent="  ")
    return f"stepcredit {name}: {about}\n\n{usage.replace(NO_BREAK, ' ')}"


def _groups() -> str:
    """What --help says of the groups that the command composes on, with the folders in them; empty without groups.

    A folder PARTS holds what the files beside it share, and no choices.
    """
    loader, taken = GlobalHydra.instance().config_loader(), _taken_groups()
    folders = [(group, folder) for group in taken for folder in loader.get_group_options(group, ObjectType.GROUP)]
    nested = [f"{group}/{folder}" for group, folder in folders if folder != PARTS]
    lines = [
        textwrap.fill(f"{group}: {', '.join(loader.get_group_options(group))}", WIDTH, subsequent_indent="  ")
        for group in sorted((*taken, *nested))
    ]
    return "\n".join(("Groups and their choices:", *lines, "", "")) if lines else ""


def _taken_groups() -> list[str]:
    """The groups that the command composes on."""
    return [group for group in HydraConfig.get().runtime.choices if not group.startswith("hydra/") and "@" not in group]


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


def leave(code: int, text: str) -> NoReturn:
    """Write one line to standard error and exit."""
    sys.stderr.write(f"stepcredit: {' '.join(text.split())}\n")
    raise SystemExit(code)


def _leave_for(error: Exception, remedy: Callable[[], str], command: Command) -> NoReturn:
    """Leave with the line and the code of an error. remedy: how to go on, after what failed on the way.

    Raises again an OSError that is not about a file: nobody but a programmer can tell what it means.
    """
    if isinstance(error, FAILED):
        leave(1, f"{error}; {remedy()}")
    if isinstance(error, OSError) and not isinstance(error, (*REFUSED, StartFailed)):
        if error.filename is None and error.errno not in NO_ROOM:
            raise error
        unnamed = "standard output" if command.output is None else "a file of the run"
        leave(1, f"{error.filename or unnamed}: {error.strerror}; {remedy()}")
    if isinstance(error, StartFailed):
        refused = {f"{kind.__module__}.{kind.__qualname__}" for kind in REFUSED}
        leave(2, error.reason) if refused & set(error.kinds) else leave(1, str(error))
    leave(2, refusal(error, named(command.config)) if isinstance(error, OmegaConfBaseException) else str(error))


def _drop_if_empty(folder: Path) -> None:
    """Remove an empty output folder and its empty parents: Hydra makes it before anything is checked."""
    here = Path.cwd()
    if folder != here and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        if here in folder.parents:
            _drop_if_empty(folder.parent)
