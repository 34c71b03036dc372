"""Presets that are the published protocols, and sentences for whatever a run does otherwise."""

from typing import Any

import pytest

from tests.fakes import CORRIDOR_PROMPTS, Corridor
from tests.trainer.config.conftest import KINDS, composed
from trainer.config.build import ConfigError, build
from trainer.setup.credit import estimator_of
from trainer.setup.protocol import deviations
from trainer.setup.world import World

DRAWN = "Validation plays different tasks; the public code draws its 128 from the split with repetition."
WHOLE = "An optimizer step takes whole rollouts, about {0} rows; the public code cuts them after every {0}th row."
LEAK = 'env.options.split is "by_goal", published: "verl_agent"'
DATA = ("env.options.data=folder",)
ALFWORLD = ("experiment=alfworld_1.5b",)


def world(train: int = 3553, validation: int = 140) -> World:
    return World(env=Corridor(), prompter=CORRIDOR_PROMPTS, train=("1",) * train, validation=("5",) * validation)


def told(*words: str, command: str = "train", over: World | None = None) -> list[str]:
    config: Any = build(KINDS[command], composed(command, *words))
    return list(deviations(config, over or world()))


# 2505.10978 and 2606.25556: (world, size) -> prompt, steps of an episode, rows of an optimizer step, validation, GPUs.
@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("alfworld_1.5b", (2048, 50, 256, 128, 2)),
        ("alfworld_7b", (2048, 50, 256, 128, 4)),
        ("webshop_1.5b", (4096, 15, 64, 256, 2)),
        ("webshop_7b", (4096, 15, 64, 256, 4)),
    ],
)
def test_a_preset_of_a_paper_has_the_papers_numbers(preset: str, numbers: tuple[int, ...]) -> None:
    config: Any = build(KINDS["train"], composed("train", f"experiment={preset}", *DATA))
    learner, limits = config.learner, (config.model.prompt_tokens, config.env.options["max_steps"])
    assert (*limits, learner.rows_per_step, config.validation.tasks, config.cluster.gpus) == numbers
    assert (config.groups_per_update, config.group_size, config.updates, learner.optimizer_steps) == (16, 8, 150, None)
    assert (config.sampling.temperature, config.sampling.max_tokens, config.validation.temperature) == (1.0, 512, 0.4)
    assert (config.env.history, config.env.style, config.validation.every) == (2, "react_loose", 5)
    assert (learner.learning_rate, learner.loss.kl_coef, learner.loss.clip_low) == (1e-6, 0.01, 0.2)
    estimator: Any = estimator_of(config)
    norm = "mean" if preset.startswith("webshop") else "mean_std"
    assert (estimator.gamma, estimator.omega, estimator.invalid_penalty, estimator.norm) == (0.95, 1.0, 0.1, norm)
    assert preset.endswith("7b") == config.model.source.endswith("2.5-7B-Instruct")


@pytest.mark.parametrize("size", ["1.5b", "7b"])
def test_a_preset_of_a_paper_differs_in_what_is_said_and_in_nothing_else(size: str) -> None:
    assert told(f"experiment=alfworld_{size}") == [DRAWN, WHOLE.format(256)]
    assert told(f"experiment=webshop_{size}", *DATA, over=world(6410, 500)) == [LEAK, WHOLE.format(64)]
    recipes = told(f"experiment=textcraft_{size}", "env.options.recipes=folder")
    assert recipes == ["Step limit, prompt size and rows of an optimizer step are not published for TextCraft."]


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "gigpo", "hgpo", "bipace"])
def test_a_row_of_a_table_is_an_estimator(estimator: str) -> None:
    assert told(*ALFWORLD, f"estimator={estimator}") == [DRAWN, WHOLE.format(256)]
    norm = ("~estimator.norm",) if estimator == "rloo" else ()
    config: Any = build(
        KINDS["train"], composed("train", "experiment=webshop_7b", f"estimator={estimator}", *DATA, *norm)
    )
    assert estimator_of(config) is not None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("group_size=4",), "group_size is 4, published: 8"),
        (("learner.optimizer_steps=4", "learner.rows_per_step=null"), "learner.rows_per_step is null, published: 256"),
        (("learner.optimizer_steps=4", "learner.rows_per_step=null"), "learner.optimizer_steps is 4, published: null"),
        (("env.style=react",), 'env.style is "react", published: "react_loose"'),
        (("env.options.max_steps=20",), "env.options.max_steps is 20, published: 50"),
        (("~env.options.max_steps",), "env.options.max_steps is not set, published: 50"),
        (("estimator.gamma=1.0",), "estimator.gamma is 1.0, published: 0.95"),
        (("max_groups_tried=64",), "max_groups_tried is 64, published: null"),
        (
            ("model.source=mine",),
            'model.source is "mine", published: "Qwen/Qwen2.5-1.5B-Instruct" or "Qwen/Qwen2.5-7B-Instruct"',
        ),
    ],
)
def test_a_setting_that_is_not_the_published_one_is_named(words: tuple[str, ...], sentence: str) -> None:
    assert sentence in told(*ALFWORLD, *words)


def test_splits_of_other_sizes_are_named() -> None:
    assert told(*ALFWORLD, over=world(100, 134))[:2] == [
        "env.train_split=train has 100 tasks, published: 3553",
        "env.validation_split=valid_seen has 134 tasks, published: 140",
    ]


def test_an_evaluation_is_compared_in_what_it_measures_by() -> None:
    words = ("protocol=alfworld", "env=alfworld_official", "model=qwen2.5_7b", "model.source=mine", "tasks=128")
    same = told(*words, "env.style=react_loose", command="evaluate")
    assert same == [DRAWN, WHOLE.format(256)]
    other = told(*words, "sampling.temperature=1.0", command="evaluate")
    assert other[:2] == [
        'env.style is "react", published: "react_loose"',
        "sampling.temperature is 1.0, published: 0.4",
    ]


def test_a_run_without_a_protocol_deviates_from_none() -> None:
    assert told() == []


def test_a_protocol_that_does_not_exist_in_the_form_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="protocol"):
        build(KINDS["train"], composed("train") | {"protocol": {"source": "me", "setings": {}}})
