"""The driver's own copy of the world, and the model that is to act in it."""

from dataclasses import dataclass
from pathlib import Path

from envs import make
from envs.base import Env
from envs.prompts import Prompter, prompter
from trainer.codec import ChatCodec
from trainer.config import EnvConfig, ModelConfig
from trainer.demos import corpus
from trainer.model import ModelError, build_tiny, convert_smollm2
from trainer.typed import ConfigError

CORPUS_TASKS = 400  # enough text for a tokenizer; more changes nothing but the time
SAMPLED_PROMPTS = 64  # first prompts that are measured before a run, of each split


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Task ids, kinds and experts, and how prompts are written."""

    env: Env
    prompter: Prompter
    train: tuple[str, ...]
    validation: tuple[str, ...]

    def kind(self, task_id: str) -> str:
        return self.env.kind(task_id)


def open_world(config: EnvConfig) -> World:
    """Raises EnvError for data that cannot be read and ConfigError for splits that overlap or are empty."""
    env = make(config.world, **config.options)
    train, validation = tuple(env.tasks(config.train_split)), tuple(env.tasks(config.validation_split))
    for name, split, tasks in (
        ("train", config.train_split, train),
        ("validation", config.validation_split, validation),
    ):
        if not tasks:
            raise ConfigError(f"env.{name}_split={split!r} has no task: choose another split or other data")
    shared = set(train) & set(validation)
    if shared:
        raise ConfigError(
            f"{len(shared)} tasks are both in env.train_split={config.train_split!r} and "
            f"env.validation_split={config.validation_split!r}, {min(shared)!r} the first: choose disjoint splits"
        )
    return World(env=env, prompter=prompter(config.world, config.style), train=train, validation=validation)


def resolve_model(config: ModelConfig, world: World, env: EnvConfig) -> str:
    """The model as a folder or a Hugging Face id; made or converted here where it must be. Raises ModelError."""
    cache = Path(config.cache).absolute()
    if config.source == "tiny":
        texts = corpus(world.env, world.train[:CORPUS_TASKS], world.prompter, history=env.history)
        return str(build_tiny(texts, config.tiny, cache))
    if config.source == "smollm2_135m":
        return str(convert_smollm2(cache))
    folder = Path(config.source)
    if folder.is_absolute() or folder.exists() or config.source.startswith("."):
        if not (folder / "config.json").is_file():
            raise ModelError(f"model.source={config.source!r} is no Hugging Face folder: it has no config.json")
        return str(folder.absolute())
    return config.source


def check_prompts(model: ModelConfig, env: EnvConfig, world: World, codec: ChatCodec) -> None:
    """Raises ConfigError where a task's first prompt does not fit; before any weights are loaded."""
    for split in (world.train, world.validation):
        for task_id in split[:: max(1, len(split) // SAMPLED_PROMPTS)]:
            first = world.env.reset(task_id, seed=0)
            messages = world.prompter.render(first=first, turns=(), now=first, history=env.history)
            length = len(codec.encode(messages))
            if length > model.prompt_tokens:
                raise ConfigError(
                    f"the first prompt of {task_id!r} has {length} tokens, model.prompt_tokens={model.prompt_tokens}: "
                    "raise it, or choose a shorter env.style"
                )
