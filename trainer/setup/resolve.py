"""Find, make, convert or fetch the model of a run, and check that the world's prompts fit into its context."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from envs.cache import cache_folder
from trainer.config.build import ConfigError, ModelError
from trainer.config.settings import EnvConfig, ModelConfig
from trainer.data.codec import ChatCodec
from trainer.data.demos import corpus
from trainer.setup.folder import MADE_HERE, model_folder
from trainer.setup.world import World

CORPUS_TASKS = 600  # most tasks in a tokenizer's corpus; more take longer and change nothing
SAMPLED_PROMPTS = 64  # first prompts of each split that are measured before a run
NEEDED = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt", "*.model")


def resolve_model(config: ModelConfig, world: World, env: EnvConfig) -> str:
    """The model's Hugging Face folder, made, converted or fetched if necessary. Raises ConfigError if that fails."""
    try:
        if config.source in MADE_HERE:
            return str(_made(config, world, env))
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return str(model_folder(config, trained=False) or _fetched(config.source))


def _made(config: ModelConfig, world: World, env: EnvConfig) -> Path:
    """The folder of a model that is made or converted here."""
    models = import_module("trainer.setup.models")  # imports torch
    cache = Path(config.cache).absolute() if config.cache else cache_folder("models")
    if config.source == "smollm2_135m":
        return models.convert_smollm2(cache)
    stride = -(-len(world.train) // CORPUS_TASKS)  # spread out, because worlds list their tasks by difficulty
    texts = corpus(world.env, world.train[::stride], world.prompter, history=env.history)
    return models.build_tiny(texts, config.tiny, cache)


def check_prompts(
    model: ModelConfig, env: EnvConfig, world: World, codec: ChatCodec, *, revision: str | None = None
) -> None:
    """Raise ConfigError if the first prompt of a task does not fit, before any weights are loaded.

    revision: the template of the prompts of revisions; if given, these are checked instead, with empty attempts.
    """
    template, subject, remedy = (
        (revision, "a revision of ", "revise.prompt") if revision else ("{task}", "", "env.style")
    )
    for split in (world.train,) if revision else (world.train, world.validation):
        for task_id in split[:: max(1, len(split) // SAMPLED_PROMPTS)]:
            first = world.env.reset(task_id, seed=0)
            task = template.format(task=first.observation, attempt="", reference="", outcome="")
            first = replace(first, observation=task)
            messages = world.prompter.render(first=first, turns=(), now=first, history=env.history)
            length = len(codec.encode(messages))
            if length > model.prompt_tokens:
                raise ConfigError(
                    f"the first prompt of {subject}{task_id!r} has {length} tokens, model.prompt_tokens="
                    f"{model.prompt_tokens}: raise it, or choose a shorter {remedy}"
                )


def _fetched(source: str) -> str:
    """The local folder of a hub id, fetched once. Engines and ranks read files and never contact the hub."""
    try:
        return snapshot_download(source, allow_patterns=list(NEEDED))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ConfigError(
            f"model.source={source!r} is no folder here and could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}): check the id and the network, or give a folder"
        ) from error
