"""One update on fakes: its order, its revisions, and the numbers that it logs."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from envs.base import Ending
from estimators import ESTIMATORS
from estimators.base import Advantages, Needs, StepBatch
from estimators.bipace import Bipace
from rollout.collect import RolloutsFailed
from rollout.collection import PlayCounts
from rollout.policy import EnginePolicy, Key, PromptTooLong
from rollout.seeds import derive_seed
from tests.chat_server import said, serving
from tests.fakes import CharCodec, Corridor, ScriptedEngine, plain
from tests.trainer.run_stack import HashLearner, Stack, configured, defaults, one_update, stops_at_first
from trainer.config.learner import OldLogprobs
from trainer.config.settings import ValidationConfig
from trainer.config.shape import ModelShape
from trainer.data.bad_batch import BadBatch
from trainer.data.tasks import training_tasks
from trainer.evaluation import evaluation
from trainer.learner.driver import GradientNotFinite
from trainer.learner.first_ratio import EngineMismatch, RatioNotOne, check_learned
from trainer.learner.reports import LearnReport
from trainer.metrics import evaluation_numbers, update_numbers
from trainer.report.meanings import MEANINGS
from trainer.report.metric_rows import read_metrics
from trainer.scorers import SCORERS
from trainer.setup.mfu import Arithmetic

# --- one update ---------------------------------------------------------------------------------------------------


def test_an_update_collects_scores_credits_learns_and_publishes_in_this_order(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 3)
    assert stack.events == ["ask", "sleep", "score", "learn", "publish 3"]
    assert list(report.seconds) == ["collect", "score", "credit", "learn", "publish"]
    assert stack.engines.word == stack.learner.word != "0"


def test_an_update_learns_from_the_engines_logprobs_where_no_pass_takes_the_learners(tmp_path: Path) -> None:
    learner = defaults().learner
    saving = replace(learner, old_logprobs="engine", loss=replace(learner.loss, importance_cap=2.0), optimizer_steps=2)
    stack, report = one_update(tmp_path, 1, learner=saving)
    targets = stack.learner.targets
    assert targets is not None
    assert targets.rollout_logprobs is not None
    assert targets.old_logprobs.tolist() == targets.rollout_logprobs.tolist()
    assert "learn/entropy" not in update_numbers(report)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRows:
    """Credit that leaves all rows out but the first `kept`."""

    kept: int
    needs: ClassVar = Needs()

    def __call__(self, batch: StepBatch, /) -> Advantages:
        return Advantages(value=np.zeros(len(batch)), mask=np.arange(len(batch)) < self.kept)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (1, "1 rollouts are left.*and 2 optimizer steps.* else lower learner.optimizer_steps"),
        (0, "0 rollouts are left.* else take another estimator"),
    ],
)
def test_an_update_that_leaves_fewer_rollouts_than_steps_ends_the_run(tmp_path: Path, kept: int, told: str) -> None:
    with pytest.raises(RolloutsFailed, match=told):
        one_update(tmp_path, 1, estimator={"_target_": f"{__name__}:FirstRows", "kept": kept})


@pytest.mark.parametrize(("old", "stops"), [("learner", True), ("engine", False)])
def test_a_first_ratio_that_holds_the_engines_roundings_is_judged_as_the_engines(old: OldLogprobs, stops: bool) -> None:
    report = LearnReport(**{**dict.fromkeys(LearnReport.__dataclass_fields__, 1), "first_ratio_error": 0.05})
    loss = replace(defaults().learner.loss, importance_cap=2.0)
    config = replace(defaults().learner, old_logprobs=old, loss=loss)
    with pytest.raises(RatioNotOne if stops else EngineMismatch):
        check_learned(report, config)
    if not stops:
        check_learned(replace(report, engine_mismatch=0.05), config)


def test_an_update_plays_its_own_tasks_each_as_often_as_the_group_is_large(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 3)
    tasks = training_tasks(("1", "2", "3", "4"), seed=0, update=2, groups=3)
    assert [(group.task_id, group.seed, len(group.trajectories)) for group in report.collected.groups] == [
        (task.task_id, task.seed, 2) for task in tasks
    ]


def test_groups_that_teach_nothing_are_replaced_and_what_they_cost_is_told(tmp_path: Path) -> None:
    def splits_in_spares(key: Key) -> str:
        return "stop" if key[0] >= 3 and key[1] == 0 else "go"

    _, report = one_update(tmp_path, 1, splits_in_spares, max_groups_tried=5)
    numbers = update_numbers(report)
    assert numbers["rollout/replaced_groups"] == 2
    assert numbers["rollout/success"] == 4 / 6  # one group that all won, two that half did
    flat = [step.completion for group in report.collected.flat for one in group.trajectories for step in one.steps]
    assert numbers["rollout/replaced_tokens"] == sum(len(said.token_ids) for said in flat) > 0


def test_an_estimator_that_measures_something_once_measures_it_in_the_update(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1, estimator={"name": "bipace", "eps": "auto", "layer": -1})
    assert isinstance(report.estimator, Bipace)
    assert report.advantages.diagnostics["eps"] == report.estimator.eps != "auto"


def test_a_critics_values_go_to_the_estimator_and_what_it_should_have_said_to_the_learner(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 1, estimator={"name": "ppo", "whiten": False, "lam": 1.0})
    targets, returns = stack.learner.targets, report.advantages.returns
    assert targets is not None
    assert targets.returns is not None
    assert targets.values is not None
    assert returns is not None
    assert targets.values.tolist() == [4.0] * len(returns)
    assert targets.returns.tolist() == returns.astype(np.float32).tolist()
    np.testing.assert_allclose(targets.advantage, returns - 4.0, rtol=1e-6)
    numbers = update_numbers(report)
    assert (numbers["critic/value"], numbers["critic/return"]) == (4.0, returns.mean())
    assert numbers["credit/explained_variance"] == pytest.approx(0.0)  # a constant explains nothing
    assert (numbers["critic/loss"], numbers["critic/clip_share"]) == (1.0, 1.0)


def test_a_critic_of_tokens_gives_each_response_token_credit_of_its_own(tmp_path: Path) -> None:
    options = {"name": "ppo", "gae": "token", "whiten": False, "lam": 1.0}
    stack, report = one_update(tmp_path, 1, estimator=options)
    targets, credit, returns = stack.learner.targets, report.advantages.token_value, report.advantages.returns
    assert targets is not None
    assert targets.returns is not None
    assert targets.token_advantage is not None
    assert credit is not None
    assert returns is not None
    assert len(targets.old_logprobs) > len(targets.advantage)
    assert targets.token_advantage.tolist() == credit.astype(np.float32).tolist()
    assert targets.returns.tolist() == returns.astype(np.float32).tolist()
    np.testing.assert_allclose(targets.token_advantage, returns - 4.0, rtol=1e-6)
    assert update_numbers(report)["critic/return"] == returns.mean()


def test_an_update_without_a_critic_says_nothing_about_one(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 1)
    assert stack.learner.targets is not None
    assert (stack.learner.targets.returns, stack.learner.targets.values) == (None, None)
    assert not [name for name in update_numbers(report) if name.startswith("critic/")]


def test_an_update_that_did_not_begin_at_the_scored_policy_stops_the_run_and_publishes_nothing(tmp_path: Path) -> None:
    stack = Stack()
    stack.learner.first_ratio_error = 0.25
    with pytest.raises(RatioNotOne, match=r"mean \|log ratio\| 0.25 nats, at most 0.001 in float32"):
        stack.train(configured(tmp_path))
    assert [event for event in stack.events if event.startswith("publish")] == ["publish 0"]


@pytest.mark.parametrize(("mismatch", "limit"), [(0.11, 0.1), (float("nan"), 0.1), (0.02, 0.01)])
def test_an_engine_that_samples_from_another_policy_stops_the_run_and_nothing_is_published(
    tmp_path: Path, mismatch: float, limit: float
) -> None:
    stack, config = Stack(), configured(tmp_path)
    stack.learner.engine_mismatch = mismatch
    config = replace(config, learner=replace(config.learner, max_engine_mismatch=limit))
    message = rf"mean \|rollout - old log-prob\| {mismatch:.3g} nats, at most {limit:g} .*resume=auto"
    with pytest.raises(EngineMismatch, match=message):
        stack.train(config)
    assert [event for event in stack.events if event.startswith("publish")] == ["publish 0"]


# --- an update with revisions -------------------------------------------------------------------------------------


def test_failures_are_revised_where_the_estimator_asks_for_it_and_nowhere_else(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 1, stops_at_first, estimator={"name": "ibpo"})
    assert list(report.seconds) == ["collect", "revise", "score", "credit", "learn", "publish"]
    assert {one.key[:3] for one in stack.policy.asked if len(one.key) == 4} == {(0, 0, 1), (1, 0, 1), (2, 0, 1)}
    stack, report = one_update(tmp_path, 1, stops_at_first, estimator={"name": "grpo"})
    assert (report.revised, {len(one.key) for one in stack.policy.asked}) == (None, {3})
    assert {group.revisions for group in report.collected.groups} == {None}
    assert not [name for name in update_numbers(report) if name.startswith("revise/")]


def test_a_repaired_failure_is_worth_more_and_learns_from_what_was_changed(tmp_path: Path) -> None:
    ibpo = {"name": "ibpo", "norm": "mean"}
    stack, report = one_update(tmp_path, 1, stops_at_first, groups_per_update=4, estimator=ibpo)
    # s = 0.5 of one revision: R' = 0 + 0.6 x 10 x 0.5 = 3 against 10, so 6.5 is the mean.
    walks = [len(group.trajectories[1].steps) for group in report.collected.groups]
    assert 1 in walks
    expected = [value for steps in walks for value in (-3.5, *[3.5] * steps)]
    assert report.advantages.value.tolist() == expected
    targets = stack.learner.targets
    assert targets is not None
    assert targets.row_mask.all()
    # Task "1" has one turn: "stop" becomes "go", and the o and the end stay. Elsewhere the whole of "stop" was wrong.
    stop = {1: [True, True, False, True, False]}
    learned = [mark for steps in walks for mark in (*stop.get(steps, [True] * 5), *[True] * 3 * steps)]
    assert targets.token_mask is not None
    assert targets.token_mask.tolist() == learned


def test_the_cost_of_revisions_is_counted(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 1, stops_at_first, estimator={"name": "ibpo"})
    numbers = update_numbers(report)
    walks = [len(group.trajectories[1].steps) for group in report.collected.groups]
    prompts = [one for one in stack.policy.asked if len(one.key) == 4]
    letters = sum(len(message.content) + 1 for one in prompts for message in one.messages)  # each with its end
    assert {name: value for name, value in numbers.items() if name.startswith("revise/")} == {
        "revise/rollouts": 3.0,
        "revise/repaired": 3.0,
        "revise/revisions": 3.0,
        "revise/succeeded": 3.0,
        "revise/prompt_tokens": float(letters),
        "revise/response_tokens": 3.0 * sum(walks),  # "go" and its end
        "revise/cut_prompts": 0.0,
    }
    assert 0.0 < numbers["seconds/revise"] == report.seconds["revise"]
    # The rollouts' own numbers are of rollouts alone.
    assert (numbers["rollout/success"], numbers["rollout/steps"]) == (0.5, (3 + sum(walks)) / 6)


def test_a_revision_is_given_up_when_a_rollout_would_be(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1, lambda _: "wait", estimator={"name": "ibpo"}, max_idle_turns=2)
    assert report.revised is not None
    assert report.revised.requested == 6
    revisions = [one.trajectory for group in report.collected.groups for one in group.revisions or ()]
    assert [(len(one.steps), one.ending) for one in revisions] == [(2, Ending.STUCK)] * 6


def test_revisions_that_cannot_be_played_are_counted_and_change_nothing(tmp_path: Path) -> None:
    def cramped(key: Key) -> str:
        if len(key) == 4:
            raise PromptTooLong("no room for two attempts")
        return stops_at_first(key)

    stack, report = one_update(tmp_path, 1, cramped, estimator={"name": "ibpo", "norm": "mean"})
    numbers = update_numbers(report)
    assert (numbers["revise/revisions"], numbers["revise/failure/prompt_too_long"]) == (3.0, 3.0)
    assert (numbers["revise/succeeded"], numbers["revise/response_tokens"], numbers["credit/repaired_share"]) == (
        0,
        0,
        0,
    )
    assert set(report.advantages.value) == {-5.0, 5.0}
    targets = stack.learner.targets
    assert targets is not None
    assert targets.token_mask is not None
    assert targets.token_mask.all()


@pytest.mark.parametrize(("wrong", "named"), [("logprob", "of logprobs"), ("scale", "of embedding")])
def test_broken_weights_end_an_update_with_the_cause_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, named: str
) -> None:
    monkeypatch.setattr(HashLearner, wrong, np.nan)
    with pytest.raises(FloatingPointError, match=rf"values {named} are not finite.*lower learner.learning_rate"):
        one_update(tmp_path, 1, estimator={"name": "bipace", "layer": -1})


def test_an_update_that_ends_the_run_by_its_gradient_saves_its_batch_beside_the_run(tmp_path: Path) -> None:
    stack, config = Stack(), configured(tmp_path)
    stack.learner.faults = {2: GradientNotFinite("gradient norm inf in 3 optimizer steps in a row")}
    with pytest.raises(GradientNotFinite, match=r"in a row; stepcredit replay .*/bad-batch-000002\.npz shows the rows"):
        stack.train(config)
    saved = BadBatch.read(tmp_path / "bad-batch-000002.npz")
    assert (saved.update, saved.seed, saved.checkpoint) == (2, derive_seed(config.seed, "minibatches", 2), None)
    assert plain(saved.targets) == plain(stack.learner.targets)
    saved.targets.check_fits(saved.tokens)


def test_a_batch_that_is_saved_names_the_checkpoint_before_it(tmp_path: Path) -> None:
    stack = Stack()
    stack.learner.faults = {4: GradientNotFinite("gradient norm inf in 3 optimizer steps in a row")}
    with pytest.raises(GradientNotFinite):
        stack.train(configured(tmp_path))
    assert BadBatch.read(tmp_path / "bad-batch-000004.npz").checkpoint == "update-000002"


@pytest.mark.parametrize(("skipped", "told"), [(0, True), (1, True), (2, False)])
def test_skipped_steps_are_counted_and_an_update_without_any_other_tells_no_means(
    tmp_path: Path, skipped: int, told: bool
) -> None:
    stack = Stack()
    stack.learner.skipped_steps = skipped
    if not told:
        stack.learner.first_ratio_error = np.nan
    stack.train(configured(tmp_path, updates=1))
    row = read_metrics(tmp_path)[-1]
    assert row["learn/skipped_steps"] == skipped
    assert all(np.isfinite(value) for value in row.values())
    means = ("loss", "policy_loss", "kl", "clip_share", "grad_norm", "ratio_max", "first_ratio_error")
    assert [f"learn/{name}" in row for name in means] == [told] * len(means)


# --- the logged numbers -------------------------------------------------------------------------------------------

SHAPE = ModelShape(hidden=64, layers=2, heads=2, kv_heads=1, mlp=128, vocabulary=256, tied=True)
ARITHMETIC = Arithmetic(shape=SHAPE, trains_all=True, flops_a_second=1e12)


def test_an_update_tells_how_busy_its_engines_were_and_what_their_caches_held(tmp_path: Path) -> None:
    stack, engine = Stack(), ScriptedEngine()
    stack.policy = EnginePolicy(engines=(engine,), codec=CharCodec(), prompt_tokens=1000)  # pyright: ignore
    engine.cached = 8
    stack.train(configured(tmp_path, updates=1, validation=ValidationConfig(every=None)))
    (row,) = read_metrics(tmp_path)
    assert 0 < row["speed/engine_busy"] <= 1
    assert row["speed/engine_busy"] <= row["speed/engine_running"]
    assert row["speed/cache_hits"] == pytest.approx(8 / row["rollout/prompt_tokens"])


def test_a_row_tells_how_long_the_validation_after_its_update_took(tmp_path: Path) -> None:
    Stack().train(configured(tmp_path, updates=4))  # a validation every two
    assert ["seconds/validate" in row for row in read_metrics(tmp_path)] == [True, False, True, False, True]


def test_a_worker_that_is_lost_is_one_restart_however_many_episodes_it_held(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1)
    failures = {"worker_died": 1, "env_timeout": 2, "worker_lost": 5, "env_error": 3}
    lossy = replace(report, collected=replace(report.collected, counts=PlayCounts(failures=failures)))
    assert update_numbers(report)["rollout/worker_restarts"] == 0
    assert update_numbers(lossy)["rollout/worker_restarts"] == 3


def too_long_now_and_then(key: Key) -> str:
    """As `stops_at_first`, but group 0 cannot be played and the revision in group 1 cannot."""
    if key[0] == 0 or (key[0] == 1 and len(key) == 4):
        raise PromptTooLong("no room")
    return stops_at_first(key)


def logged_names(tmp_path: Path) -> set[str]:
    """Every name that an update logs, over all estimators of the repository, and that a validation logs."""
    names: set[str] = set()
    for estimator in ESTIMATORS:
        options = {"name": estimator, **({"layer": -1} if estimator == "bipace" else {})}
        scorer = {"name": "milestones" if estimator == "istar" else None}
        _, report = one_update(
            tmp_path, 1, too_long_now_and_then, groups_per_update=4, estimator=options, scorer=scorer
        )
        names |= update_numbers(report, ARITHMETIC).keys()
    names |= scorer_names(tmp_path)
    stack = Stack()
    stack.policy = EnginePolicy(engines=(ScriptedEngine(),), codec=CharCodec(), prompt_tokens=1000)  # pyright: ignore
    stack.train(configured(tmp_path / "run", updates=6))  # the third checkpoint waits for the second, which is told
    names |= {name for row in read_metrics(tmp_path / "run") for name in row} - {"update"}
    held_out = tuple(
        replace(group, trajectories=group.trajectories[:1], revisions=None) for group in report.collected.groups
    )
    return names | evaluation_numbers(evaluation(replace(report.collected, groups=held_out), Corridor().kind)).keys()


def scorer_names(tmp_path: Path) -> set[str]:
    """Every name that an update with a scorer logs, over the scorers of the repository."""
    names: set[str] = set()
    with serving() as server:
        server.reply = lambda body, number: said("[0]" if "1 steps" in body["messages"][0]["content"] else "no")
        asks = {"url": server.url, "model": "some", "key_variable": None, "max_unscored": 1.0}
        for scorer in SCORERS:
            options = {"name": scorer, **(asks if scorer == "judge" else {})}
            _, report = one_update(tmp_path / scorer, 1, stops_at_first, estimator={"name": "grpo"}, scorer=options)
            names |= update_numbers(report).keys()
    return names


def family(name: str) -> str:
    """The key of `MEANINGS` that a logged name belongs to; a word in capitals in a key stands for any text."""
    patterns = {key: re.sub("[A-Z]{3,}", ".+", key) for key in MEANINGS}
    return next((key for key, pattern in patterns.items() if re.fullmatch(pattern, name)), f"{name} has no entry")


def test_every_logged_name_has_a_meaning_and_every_meaning_is_logged(tmp_path: Path) -> None:
    assert {family(name) for name in logged_names(tmp_path)} == MEANINGS.keys()
