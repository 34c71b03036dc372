"""Presets that are the published protocols, and sentences for whatever a run does otherwise."""

from typing import Any

import pytest
import yaml

from tests.fakes import CORRIDOR_PROMPTS, Corridor
from tests.trainer.config.conftest import CONFIGS, KINDS, composed
from trainer.config.build import ConfigError, build
from trainer.setup.credit import estimator_of
from trainer.setup.protocol import deviations
from trainer.setup.world import World

DRAWN = "Validation plays different tasks; the public code draws its 128 from the split with repetition."
WHOLE = "An optimizer step takes whole rollouts, about {0} rows; the public code cuts them after every {0}th row."
MEANS = "All tokens of an optimizer step weigh alike; the public code averages over the tokens of each micro-batch."
LEAK = 'env.options.split is "by_goal", published: "verl_agent"'
CODE = [
    "learner.loss.entropy_coef is 0.0, public code: 0.001",
    "learner.loss.dual_clip is null, public code: 3.0",
    "learner.loss.importance_cap is 2.0, public code: null",
]
BY_ROLLOUT = [
    'estimator.episode_stats is "trajectory", public code: "row"',
    'estimator.penalty is "return", public code: "row"',
]
SIMILAR = "estimator.similarity is 0.9, published: 1.0"
NORM = 'estimator.norm is "mean", published: "mean_std"'
OF_TEXTCRAFT = (
    "Step limit, prompt size, rows of an optimizer step, scaling of advantages and tasks of a validation are not "
    "published for TextCraft."
)
DECAY, SLOW = (f"estimator.decay is {ours}, published: {theirs}" for ours, theirs in ((0.1, 0.2), (0.2, 0.1)))
PROMPT = "model.prompt_tokens is 4096, public code: {}"
NORM_OF_WEBSHOP = 'estimator.norm is "mean_std", published: "mean"'
HGPO = ['estimator.penalty is "return", public code: "row"', "estimator.depth is 1, public code: 2"]
PPO = [
    "The critic is a linear head on the policy's hidden state; the public code's is a second model of the policy's "
    "size, trained at a learning rate of 1e-5.",
    "Advantages run over the turns of a rollout; the public code's end with a response, which is paid what the whole "
    "rollout earned.",
]
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
    assert told(f"experiment=alfworld_{size}") == [*CODE, DRAWN, WHOLE.format(256), MEANS]
    assert told(f"experiment=webshop_{size}", *DATA, over=world(6410, 500)) == [LEAK, *CODE, WHOLE.format(64), MEANS]
    recipes = told(f"experiment=textcraft_{size}", "env.options.recipes=folder")
    assert recipes == [*CODE, OF_TEXTCRAFT]


# What was published of one estimator alone, as configs/protocol has it: two figures of GiGPO, the scripts of the rest.
@pytest.mark.parametrize(
    ("words", "in_alfworld", "in_webshop"),
    [
        (("grpo", "norm=mean_std"), BY_ROLLOUT, BY_ROLLOUT),
        (("grpo", "norm=mean"), [NORM, *BY_ROLLOUT], [NORM, *BY_ROLLOUT]),
        (("rloo",), BY_ROLLOUT, BY_ROLLOUT),
        (("gigpo", "norm=mean_std"), BY_ROLLOUT, BY_ROLLOUT),
        (("gigpo", "norm=mean"), BY_ROLLOUT, BY_ROLLOUT),
        (("compat/verl_agent_gigpo", "norm=mean"), [], []),
        (("compat/verl_agent_gigpo_similar", "norm=mean"), [SIMILAR], [SIMILAR]),
        (("bipace", "norm=mean"), [NORM], []),
        (("graphgpo", "norm=mean_std"), BY_ROLLOUT, [*BY_ROLLOUT, DECAY, PROMPT.format(5120)]),
        (("graphgpo", "norm=mean", "decay=0.2"), [NORM, SLOW, *BY_ROLLOUT], [NORM, *BY_ROLLOUT, PROMPT.format(5120)]),
        (("crbc", "norm=mean_std"), [], [NORM_OF_WEBSHOP]),
        (
            ("compat/verl_agent_hgpo", "norm=mean", "penalty=return", "depth=1"),
            [NORM, *HGPO, "updates is 150, public code: 160", "model.prompt_tokens is 2048, public code: 4096"],
            [*HGPO, "updates is 150, public code: 160", "env.options.max_steps is 15, public code: 30"],
        ),
        (
            ("compat/verl_agent_hgpo", "norm=mean"),
            [NORM, "updates is 150, public code: 160", "model.prompt_tokens is 2048, public code: 4096"],
            ["updates is 150, public code: 160", "env.options.max_steps is 15, public code: 30"],
        ),
    ],
)
def test_a_run_is_compared_with_what_was_published_of_its_estimator(
    words: tuple[str, ...], in_alfworld: list[str], in_webshop: list[str]
) -> None:
    def own(experiment: str, over: World) -> set[str]:
        options = [f"++estimator.{word}" for word in words[1:]] or ["~estimator.norm"] * (experiment == "webshop_7b")
        data = DATA if experiment == "webshop_7b" else ()
        sentences = told(f"experiment={experiment}", f"estimator={words[0]}", *options, *data, over=over)
        return set(sentences) - {LEAK, *CODE, DRAWN, WHOLE.format(64), WHOLE.format(256), MEANS}

    assert own("alfworld_7b", world()) == set(in_alfworld)
    assert own("webshop_7b", world(6410, 500)) == set(in_webshop)


def test_ppo_plays_each_task_once_and_has_another_critic() -> None:
    words = (*ALFWORLD, "estimator=ppo", "groups_per_update=128", "group_size=1")
    as_coded = told(*words, "estimator.gae=token", "estimator.lam=1.0", "learner.critic.clip=0.5")
    assert as_coded == [*CODE, DRAWN, WHOLE.format(256), MEANS, *PPO]
    assert told(*words)[:3] == [
        'estimator.gae is "turn", public code: "token"',
        "estimator.lam is 0.95, public code: 1.0",
        "learner.critic.clip is null, public code: 0.5",
    ]


def test_the_reasoning_table_says_what_of_its_paper_was_not_at_hand() -> None:
    values: Any = yaml.safe_load((CONFIGS / "table" / "reasoning.yaml").read_text())
    for row in values["rows"]:
        if row["name"] != "gspo_score":  # nobody can run it
            sentences = told(*values["train"], *row["overrides"], over=world(9, 30))
            assert [one.endswith("ours; the paper's were not at hand.") for one in sentences] == [True, True]
    other = told(*values["train"], "estimator=ibpo", "estimator.boost=1", "revise.references=3", over=world(9, 25))
    assert other[:3] == [
        "revise.references is 3, published: 1 or 2",
        "estimator.boost is 1, published: 0.6",
        "env.validation_split=validation has 25 tasks, published: 30",
    ]


ROWS = {
    "alfworld": {"hgpo": {"updates is 150, public code: 160", "model.prompt_tokens is 2048, public code: 4096"}},
    "webshop": {"hgpo": {"updates is 150, public code: 160", "env.options.max_steps is 15, public code: 30"}},
    "textcraft": {},
}
"""World -> row -> what it does otherwise than the rows beside it, but for `BY_ROLLOUT` and what PPO says of itself."""


@pytest.mark.parametrize("table", ["alfworld_7b", "alfworld_7b_ablation", "webshop_7b", "textcraft_7b"])
def test_the_rows_of_the_papers_tables_are_what_was_published_but_for_what_is_known(table: str) -> None:
    values: Any = yaml.safe_load((CONFIGS / "table" / f"{table}.yaml").read_text())
    name = table.split("_")[0]
    of_world = {
        "alfworld": [DRAWN, WHOLE.format(256), MEANS],
        "webshop": [LEAK, WHOLE.format(64), MEANS],
        "textcraft": [OF_TEXTCRAFT],
    }
    options = {"webshop": DATA, "textcraft": ("env.options.recipes=folder",)}.get(name, ())
    over = world(6410, 500) if name == "webshop" else world()
    for row in values["rows"]:
        if row.get("command") == "evaluate" or row["name"] == "ngram_clusters_q":
            continue
        sentences = told(*values["train"], *row["overrides"], *options, over=over)
        left = {one for one in sentences if one not in (*CODE, *of_world[name], *BY_ROLLOUT)}
        if row["name"] == "ppo":
            left = {one for one in left if one not in PPO}
        assert left == ROWS[name].get(row["name"], set()), row["name"]


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
        (("env.examples=2",), "env.examples is 2, published: 0"),
        (("sampling.max_tokens=256",), "sampling.max_tokens is 256, published: 512"),
        (("learner=lora",), "learner.lora.rank is 32, published: null"),
        (("scorer=milestones",), 'scorer.name is "milestones", published: null'),
        (("rollout.graded=true",), "rollout.graded is true, published: false"),
        (("++estimator.omeg=2",), DRAWN),  # an option that there is not is told where the run is checked
        (
            ("model.source=mine",),
            'model.source is "mine", published: "Qwen/Qwen2.5-1.5B-Instruct" or "Qwen/Qwen2.5-7B-Instruct"',
        ),
    ],
)
def test_a_setting_that_is_not_the_published_one_is_named(words: tuple[str, ...], sentence: str) -> None:
    assert sentence in told(*ALFWORLD, *words)


def test_splits_of_other_sizes_are_named() -> None:
    assert told(*ALFWORLD, over=world(100, 134))[len(CODE) :][:2] == [
        "env.train_split=train has 100 tasks, published: 3553",
        "env.validation_split=valid_seen has 134 tasks, published: 140",
    ]


def test_an_evaluation_is_compared_in_what_it_measures_by() -> None:
    words = ("protocol=alfworld", "env=alfworld_official", "model=qwen2.5_7b", "model.source=mine", "tasks=128")
    same = told(*words, "env.style=react_loose", command="evaluate")
    assert same == [DRAWN]
    sampling = ("sampling.temperature=1.0", "sampling.top_p=0.9", "sampling.max_tokens=64")
    assert told(*words, *sampling, "env.examples=2", command="evaluate") == [
        'env.style is "react", published: "react_loose"',
        "sampling.temperature is 1.0, published: 0.4",
        "sampling.top_p is 0.9, published: 1.0",
        "sampling.max_tokens is 64, published: 512",
        DRAWN,
    ]


def test_a_run_without_a_protocol_deviates_from_none() -> None:
    assert told() == []


def test_a_protocol_that_does_not_exist_in_the_form_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="protocol"):
        build(KINDS["train"], composed("train") | {"protocol": {"source": "me", "setings": {}}})
    alone = {"source": "me", "settings": {}, "estimators": {"grpo": {"setings": {}}}}
    with pytest.raises(ConfigError, match=r"protocol\.estimators\.grpo\.setings"):
        build(KINDS["train"], composed("train") | {"protocol": alone})
