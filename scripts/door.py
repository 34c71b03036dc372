"""What every door shares: Hydra composes, the config becomes typed, bad input ends with one line and exit code 2."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.base import EnvError, hint
from rollout.collect import RolloutsFailed
from rollout.ray_actors import ActorDied
from trainer.config.build import ConfigError, build
from trainer.report.progress import Display

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"
REFUSED = (ConfigError, EnvError, HydraException, OmegaConfBaseException)
FAILED = (RolloutsFailed, ActorDied)
T = TypeVar("T")


def open_door(name: str, kind: type[T], check: Callable[[T], Any], run: str, planned: bool = False) -> None:
    """Compose configs/`name`.yaml with the command line, build `kind` of it, `check` it, and run "module:function".

    run is named and not imported: it brings torch and transformers, and a wrong word should not wait for them.
    planned: run takes what check returned instead of the config.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing a page and leaving with code 1
    sys.argv[0] = "stepcredit"  # not this file's path: help and shell completion name the command

    @hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)
    def body(config: DictConfig) -> None:
        try:
            _known_fit()
            typed = build(kind, OmegaConf.to_container(config, resolve=True))  # pyright: ignore
            plan = check(typed)
            function_named(run)(plan if planned else typed, Display())
        except REFUSED as error:
            leave(2, error)
        except FAILED as error:
            leave(1, error)
        finally:
            _drop_if_empty(Path(HydraConfig.get().runtime.output_dir))

    try:
        body()
    except REFUSED as error:  # of the command line itself
        leave(2, error)


class AfterSweep(Callback):
    """What a config asks for at the end of a multirun: "module:function" is called with the sweep's folder."""

    def __init__(self, run: str) -> None:
        self._run = run

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        function_named(self._run)(Path(config.hydra.sweep.dir).absolute(), Display())


def _known_fit() -> None:
    """Raises ConfigError for a `fit=` that is not there: the group is optional, so Hydra itself passes over it."""
    known = sorted(path.stem for path in (CONFIG_DIR / "fit").glob("*.yaml"))
    for override in HydraConfig.get().overrides.task:
        group, _, name = override.partition("=")
        if group == "fit" and name not in (*known, "null"):
            raise ConfigError(f"there is no fit={name}; {hint(name, known)}")


def function_named(path: str) -> Callable[..., Any]:
    """The function of "module:function"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def leave(code: int, error: BaseException) -> None:
    """One line on standard error, then the end."""
    line = " ".join(str(error).split())
    sys.stderr.write(f"stepcredit: {line}\n")
    raise SystemExit(code)


def _drop_if_empty(folder: Path) -> None:
    """Hydra makes the output folder before anything is checked; a refused run leaves neither it nor its parents."""
    here = Path.cwd()
    if folder != here and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        if here in folder.parents:
            _drop_if_empty(folder.parent)
