"""Reasoning Gym: the package's questions, answers and scores; splits that no seed mixes."""

from importlib.util import find_spec

import pytest

from envs import Ending, EnvError, make
from envs.reasoning import ReasoningGym

pytestmark = pytest.mark.skipif(
    find_spec("reasoning_gym") is None,
    reason="the extra `reasoning` is not installed: see docs/worlds/reasoning_gym.md",
)
TWO = {"leg_counting": {"max_animals": 3}, "prime_factorization": {}}


@pytest.fixture(scope="module")
def env() -> ReasoningGym:
    return ReasoningGym(datasets=TWO, train=12, validation=3)


def test_each_dataset_has_its_questions_in_splits_of_its_name(env: ReasoningGym) -> None:
    assert [len(env.tasks(split)) for split in ("train", "validation", "train_leg_counting")] == [24, 6, 12]
    assert {env.kind(task) for task in env.tasks("train")} == set(TWO)


def test_the_package_scores_the_answers(env: ReasoningGym) -> None:
    for task in env.tasks("validation"):
        env.reset(task)
        right = next(env.expert())
        assert env.step(right).ending is Ending.SUCCESS
        env.reset(task)
        wrong = env.step(f"{right}1")
        assert (wrong.ending, wrong.won, wrong.reward) == (Ending.FAILURE, False, 0.0)
        assert 0.0 <= wrong.score < 1.0


def test_a_partly_right_answer_has_a_score_between() -> None:
    env = ReasoningGym(datasets={"word_sorting": {}}, train=2, validation=1)
    env.reset(env.tasks("train")[0])
    words = next(env.expert()).split(", ")
    partly = env.step(", ".join([*words[:-2], words[-1], words[-2]]))
    assert (partly.won, partly.observation) == (False, f"Score {partly.score:.2f}.")
    assert 0.0 < partly.score < 1.0


def test_an_answer_that_the_packages_reader_stumbles_over_scores_0(env: ReasoningGym) -> None:
    (task, *_) = env.tasks("validation_prime_factorization")
    env.reset(task)
    assert env.step("no number").score == 0.0


def test_a_score_that_takes_too_long_is_0_and_the_next_answer_is_scored() -> None:
    env = ReasoningGym(datasets={"simple_integration": {}}, train=3, validation=1)
    task = env.tasks("train")[0]
    env.reset(task)
    assert env.step("9**9**9**9**9").score < 1.0
    env.reset(task)
    assert env.step(next(env.expert())).won


def test_no_seed_trains_on_a_question_that_validates() -> None:
    texts: dict[str, set[str]] = {"train": set(), "validation": set()}
    for seed in (0, 1):
        env = ReasoningGym(
            datasets={"chain_sum": {"max_terms": 2, "max_digits": 1}}, seed=seed, train=60, validation=15
        )
        for split, known in texts.items():
            known |= {env.reset(task).observation for task in env.tasks(split)}
    assert not texts["train"] & texts["validation"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"datasets": {"chain_sun": {}}}, "no dataset 'chain_sun'; did you mean 'chain_sum'"),
        (
            {"datasets": {"chain_sum": {"min_terms": -1}}},
            "'chain_sum' refuses its settings .*min_terms must be positive",
        ),
        ({"datasets": {"chain_sum": {"terms": 1}}}, "'chain_sum' refuses its settings .*'terms'"),
        ({"datasets": {}}, "give one or more"),
        ({"train": 0}, "train=0"),
    ],
)
def test_datasets_and_settings_that_do_not_exist_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(EnvError, match=told):
        make("reasoning_gym", **options)


def test_a_dataset_without_answers_has_no_expert() -> None:
    env = ReasoningGym(datasets={"graph_color": {}}, train=1, validation=1)
    env.reset(env.tasks("train")[0])
    with pytest.raises(EnvError, match="no answer to a question of graph_color"):
        next(env.expert())
