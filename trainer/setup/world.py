"""The driver's own copy of the world."""

import inspect
from dataclasses import dataclass
from typing import Any

from envs import WORLDS, make
from envs.base import Env
from envs.prompts import Prompter, prompter
from trainer.config.build import ConfigError, convert
from trainer.config.settings import EnvConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Task ids, kinds and experts, and how prompts are written. leaked: validation tasks that are trained on."""

    env: Env
    prompter: Prompter
    train: tuple[str, ...]
    validation: tuple[str, ...]
    leaked: frozenset[str] = frozenset()

    def kind(self, task_id: str) -> str:
        return self.env.kind(task_id)


def open_world(config: EnvConfig) -> World:
    """Raises EnvError for data that cannot be read, ConfigError for ill-typed options and for unusable splits."""
    env = make(config.world, **_typed_options(config))
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
    return World(
        env=env, prompter=prompter(config.world, config.style), train=train, validation=validation, leaked=leaked
    )


def _typed_options(config: EnvConfig) -> dict[str, Any]:
    """The world's options, those that it knows converted to the types it asks for."""
    known = inspect.signature(WORLDS[config.world], eval_str=True).parameters if config.world in WORLDS else {}
    return {
        name: convert(known[name].annotation, value, f"env.options.{name}") if name in known else value
        for name, value in config.options.items()
    }
