"""The driver's own copy of the world, and how the config refers to it."""

import inspect
from dataclasses import dataclass
from typing import Any

from envs import WorldSpec, find, make
from envs.base import Env
from envs.own import is_target
from envs.prompts import Prompter
from envs.prompts.few_shot import FewShot
from trainer.config.build import ConfigError, convert
from trainer.config.settings import EnvConfig
from trainer.data.examples import worked_examples

OWN = "own"  # the world that configs/env/own.yaml names, until a target says which


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The world as the driver uses it: its tasks, their kinds, its expert and its prompts."""

    env: Env
    """An instance of the driver's own. Rollouts use the workers' instances."""

    prompter: Prompter
    """Writes prompts and parses answers, in the style of the config."""

    train: tuple[str, ...]
    """Ids of the training tasks."""

    validation: tuple[str, ...]
    """Ids of the validation tasks."""

    leaked: frozenset[str] = frozenset()
    """Ids that are in both."""

    def kind(self, task_id: str) -> str:
        """The label under which results on this task are reported."""
        return self.env.kind(task_id)


def world_reference(config: EnvConfig) -> str:
    """What `envs.find` takes, in the driver and in the workers: the target if there is one, else the world's name.

    Raises ConfigError for a target that names no module, and for env=own without a target.
    """
    if config._target_ is None and config.world == OWN:
        raise ConfigError("env=own names no world yet: set env._target_=package.module:SPEC")
    if config._target_ is None:
        return config.world
    if not is_target(config._target_):
        raise ConfigError(f"env._target_={config._target_!r} names no module: set env._target_=package.module:SPEC")
    return config._target_


def open_world(config: EnvConfig) -> World:
    """Make the world and list its tasks.

    Raises EnvError for a world that cannot be loaded and for data that cannot be read; ConfigError for an option of the
    wrong type, for a split without tasks, and for splits that share tasks.
    """
    reference = world_reference(config)
    spec = find(reference)
    env = make(reference, **_typed_options(spec, config))
    train, validation = tuple(env.tasks(config.train_split)), tuple(env.tasks(config.validation_split))
    for name, split, tasks in (
        ("train", config.train_split, train),
        ("validation", config.validation_split, validation),
    ):
        if not tasks:
            raise ConfigError(f"env.{name}_split={split!r} has no task: choose another split or other data")
    leaked = frozenset(validation).intersection(train)
    if leaked and not config.overlap:
        raise ConfigError(
            f"{len(leaked)} tasks are both in env.train_split={config.train_split!r} and "
            f"env.validation_split={config.validation_split!r}, {min(leaked)!r} the first: choose disjoint "
            "splits, or set env.overlap=true to reproduce a published split that leaks"
        )
    prompter = spec.prompter(config.style)
    if config.examples:
        shown = worked_examples(env, [one for one in train if one not in leaked], prompter, count=config.examples)
        prompter = FewShot(inner=prompter, examples=shown)
    return World(env=env, prompter=prompter, train=train, validation=validation, leaked=leaked)


def _typed_options(spec: WorldSpec, config: EnvConfig) -> dict[str, Any]:
    """The world's options, converted to the types of its parameters. An option it does not have stays as it is."""
    parameters = inspect.signature(spec.make, eval_str=True).parameters
    return {
        name: convert(parameters[name].annotation, value, f"env.options.{name}") if name in parameters else value
        for name, value in config.options.items()
    }
