"""The loop with a policy, a learner and engines of a few lines each: what happens when, and what a resume repeats."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from envs.base import Ending
from estimators import ESTIMATORS
from estimators.bipace import Bipace
from rollout.collect import Collector, RolloutConfig, RolloutsFailed
from rollout.policy import Key, PromptTooLong
from rollout.record import read_groups
from rollout.seeds import derive_seed
from tests.fakes import CORRIDOR_PROMPTS, Corridor, FolderLearner, LocalPool, ScriptedPolicy, plain
from trainer import checkpoint, run
from trainer.checkpoint import latest, read_state
from trainer.commands.defaults import register
from trainer.config.build import ConfigError, build
from trainer.config.commands import TrainConfig
from trainer.config.settings import CheckpointConfig, EnvConfig, LogConfig, ValidationConfig
from trainer.data.tasks import training_tasks
from trainer.data.tokens import Targets, TokenBatch
from trainer.evaluation import evaluation
from trainer.learner.driver import LearnReport, Scores
from trainer.learner.first_ratio import RatioNotOne
from trainer.learner.messages import Published
from trainer.metrics import METRICS, evaluation_numbers, update_numbers
from trainer.report.metric_log import read_metrics
from trainer.report.progress import Display
from trainer.run import RunResult, train
from trainer.setup.parts import Parts
from trainer.setup.preflight import estimator_of, plan_training
from trainer.setup.world import World
from trainer.step import UpdateReport, update

TIMED = ("seconds/", "share/")


class HashLearner(FolderLearner):
    """Its weights are a word that every update hashes together with what it was taught."""

    def __init__(self, events: list[str]) -> None:
        super().__init__("0")
        self.events = events
        self.dies_at: int | None = None
        self.updates = 0
        self.first_ratio_error = 0.0
        self.targets: Targets | None = None

    def score(self, batch: TokenBatch, *, layer: int | None) -> Scores:
        self.events.append("score")
        direction = np.random.default_rng(0).standard_normal((batch.num_rows, 4)).astype(np.float32)
        logprobs = np.full(batch.num_response_tokens, -0.5, np.float32)
        embedding = None if layer is None else direction
        return Scores(logprobs=logprobs, ref_logprobs=None, embedding=embedding, entropy=0.5)

    def learn(self, batch: TokenBatch, targets: Targets, *, seed: int) -> LearnReport:
        self.events.append("learn")
        self.updates += 1
        self.targets = targets
        if self.updates == self.dies_at:
            raise KeyboardInterrupt
        targets.check_fits(batch)
        self.word = str(derive_seed(self.word, seed, str(targets.advantage.tolist()), str(batch.tokens.tolist())))
        means = dict.fromkeys(LearnReport.__dataclass_fields__, 1.0)
        means |= {"optimizer_steps": 1, "tokens": 1, "first_ratio_error": self.first_ratio_error}
        return LearnReport(**means)  # pyright: ignore[reportArgumentType]

    def publish(self, folder: Path, version: int) -> Published:
        self.events.append(f"publish {version}")
        path = folder / f"{version}.txt"
        path.write_text(self.word)
        return Published(path=str(path), version=version, checksum=self.word)


@dataclass(slots=True)
class WordEngines:
    """Serve the learner's word: what the policy says depends on it."""

    events: list[str]
    word: str = ""

    def sleep(self) -> None:
        self.events.append("sleep")

    def publish(self, weights: Path, version: int, checksum: str) -> None:
        self.events.append(f"serve {version}")
        self.word = weights.read_text()
        assert self.word == checksum

    def say(self, key: Key) -> str:
        if self.events[-1:] != ["ask"]:
            self.events.append("ask")
        return "go" if derive_seed(self.word, *key) % 3 else "wait"


@dataclass(slots=True)
class Stack:
    """One process of a run: its parts, and what they did in which order."""

    events: list[str] = field(default_factory=list)
    learner: HashLearner = field(init=False)
    script: Callable[[Key], str] | None = None  # None: what the policy says depends on what it was taught
    policy: ScriptedPolicy = field(init=False)
    engines: WordEngines = field(init=False)

    def __post_init__(self) -> None:
        self.learner, self.engines = HashLearner(self.events), WordEngines(self.events)
        self.policy = ScriptedPolicy(self.script or self.engines.say)

    def parts(self, config: TrainConfig, world: World, weights: Path) -> Parts:
        collector = Collector(policy=self.policy, pool=LocalPool(), prompter=world.prompter, config=config.rollout)  # pyright: ignore
        return Parts(
            config=config,
            world=world,
            engines=self.engines,  # pyright: ignore[reportArgumentType]
            learner=self.learner,  # pyright: ignore[reportArgumentType]
            collector=collector,
            weights_folder=weights,
        )

    def train(self, config: TrainConfig, display: Display | None = None) -> RunResult:
        """`run.train` with these parts in the place of Ray, vLLM and DeepSpeed."""

        @contextmanager
        def assembled(config: TrainConfig, world: World, _: Display) -> Iterator[Parts]:
            weights = Path(config.output) / "weights"
            weights.mkdir(exist_ok=True)
            yield self.parts(config, world, weights)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "assembled", assembled)
            return train(plan_training(config), display or Display(Console(quiet=True)))


@cache
def defaults() -> TrainConfig:
    register()
    with initialize_config_dir(str(Path(__file__).parents[2] / "configs"), version_base="1.3"):
        values = compose("train", overrides=["output=out"])
    return build(TrainConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]


def configured(output: Path, **changes: Any) -> TrainConfig:
    """Three groups of two rollouts, four updates; a checkpoint and a validation every two."""
    plain_run = {
        "learner": replace(defaults().learner, optimizer_steps=2),
        "env": EnvConfig(world="corridor", _target_="tests.fakes:CORRIDOR", style="bare", history=6),
        "rollout": RolloutConfig(history=6),
        "estimator": {"name": "gigpo"},
        "validation": ValidationConfig(every=2, tasks=2),
        "checkpoint": CheckpointConfig(every=2, keep=2),
        "log": LogConfig(tensorboard=False, wandb="disabled"),
        "updates": 4,
        "groups_per_update": 3,
        "group_size": 2,
    }
    return replace(defaults(), output=str(output), **{**plain_run, **changes})


def one_update(
    tmp_path: Path, number: int, script: Callable[[Key], str] | None = None, **changes: Any
) -> tuple[Stack, UpdateReport]:
    stack, config = Stack(script=script), configured(tmp_path, **changes)
    corridor = Corridor()
    world = World(
        env=corridor,
        prompter=CORRIDOR_PROMPTS,
        train=tuple(corridor.tasks("train")),
        validation=tuple(corridor.tasks("test")),
    )
    return stack, update(stack.parts(config, world, tmp_path), estimator_of(config), number)


# --- one update ---------------------------------------------------------------------------------------------------


def test_an_update_collects_scores_credits_learns_and_publishes_in_this_order(tmp_path: Path) -> None:
    stack, report = one_update(tmp_path, 3)
    assert stack.events == ["ask", "sleep", "score", "learn", "publish 3", "serve 3"]
    assert list(report.seconds) == ["collect", "score", "credit", "learn", "publish"]
    assert stack.engines.word == stack.learner.word != "0"


def test_an_update_plays_its_own_tasks_each_as_often_as_the_group_is_large(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 3)
    tasks = training_tasks(("1", "2", "3", "4"), seed=0, update=2, groups=3)
    assert [(group.task_id, group.seed, len(group.trajectories)) for group in report.collected.groups] == [
        (task.task_id, task.seed, 2) for task in tasks
    ]


def test_an_estimator_that_measures_something_once_measures_it_in_the_update(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1, estimator={"name": "bipace", "eps": "auto", "layer": -1})
    assert isinstance(report.estimator, Bipace)
    assert report.advantages.diagnostics["eps"] == report.estimator.eps != "auto"


def test_an_update_that_did_not_begin_at_the_scored_policy_stops_the_run_and_publishes_nothing(tmp_path: Path) -> None:
    stack = Stack()
    stack.learner.first_ratio_error = 0.25
    with pytest.raises(RatioNotOne, match=r"mean \|log ratio\| 0.25 nats, at most 0.001 in float32"):
        stack.train(configured(tmp_path))
    assert [event for event in stack.events if event.startswith("publish")] == ["publish 0"]


# --- an update with revisions -------------------------------------------------------------------------------------


def stops_at_first(key: Key) -> str:
    """The first rollout of a group gives up at once; its revision, whose keys have a part more, walks to the end."""
    return "stop" if key[1] == 0 and len(key) == 3 else "go"


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


# --- the logged numbers -------------------------------------------------------------------------------------------


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
        _, report = one_update(tmp_path, 1, too_long_now_and_then, groups_per_update=4, estimator=options)
        names |= update_numbers(report).keys()
    return names | evaluation_numbers(evaluation(report.collected, Corridor().kind)).keys()


def family(name: str) -> str:
    """The key of `METRICS` that a logged name belongs to; a word in capitals in a key stands for any text."""
    patterns = {key: re.sub("[A-Z]{3,}", ".+", key) for key in METRICS}
    return next((key for key, pattern in patterns.items() if re.fullmatch(pattern, name)), f"{name} has no entry")


def test_every_logged_name_has_a_meaning_and_every_meaning_is_logged(tmp_path: Path) -> None:
    assert {family(name) for name in logged_names(tmp_path)} == METRICS.keys()


# --- a whole run --------------------------------------------------------------------------------------------------


def test_a_run_validates_before_the_first_update_and_as_often_as_told(tmp_path: Path) -> None:
    stack = Stack()
    result = stack.train(configured(tmp_path, updates=5))
    assert [number for number, _ in result.validations] == [0, 2, 4, 5]
    assert [sorted(one.task_id for one in found.trajectories) for _, found in result.validations] == [["5", "6"]] * 4
    rows = read_metrics(tmp_path)
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["update"] for row in rows if "validation/success" in row] == [0, 2, 4, 5]
    assert [event for event in stack.events if event.startswith("serve")] == [f"serve {number}" for number in range(6)]


def test_a_held_out_task_that_cannot_be_played_counts_as_not_solved_and_is_told_in_the_line_and_the_log(
    tmp_path: Path,
) -> None:
    def say(key: Key) -> str:
        if not stack.learner.updates and key[0] == 1:  # of the first validation
            raise PromptTooLong("no room")
        return "go"

    stack, printed = Stack(), StringIO()
    stack.policy = ScriptedPolicy(say)
    lenient = RolloutConfig(history=6, max_failure_share=0.5)
    display = Display(Console(file=printed, width=200))
    stack.train(configured(tmp_path, updates=1, rollout=lenient), display)
    before, after = read_metrics(tmp_path)
    assert (before["validation/success"], before["validation/not_played"]) == (0.5, 1.0)
    assert before["validation/not_played prompt_too_long"] == 1.0
    assert (after["validation/success"], after["validation/not_played"]) == (1.0, 0.0)
    assert "success 50.0 % [9.5, 90.5] (1/2), 1 not played: prompt_too_long\n" in printed.getvalue()


def test_groups_that_an_update_could_not_play_are_told_by_reason(tmp_path: Path) -> None:
    printed = StringIO()
    config = configured(tmp_path, updates=1, groups_per_update=4, validation=ValidationConfig(every=9, tasks=1))
    stack = Stack(script=unplayable_third)
    stack.train(config, Display(Console(file=printed, width=200)))
    assert "update 1, 1 not played: prompt_too_long, of 4 groups\n" in printed.getvalue()


def unplayable_third(key: Key) -> str:
    if key[0] == 3:
        raise PromptTooLong("no room")
    return stops_at_first(key)


def test_an_update_none_of_whose_groups_can_be_played_ends_the_run(tmp_path: Path) -> None:
    def never(_: Key) -> str:
        raise PromptTooLong("no room")

    with pytest.raises(RolloutsFailed, match="all 3 of 3 groups dropped"):
        one_update(tmp_path, 1, never, rollout=RolloutConfig(history=6, max_failure_share=1.0))


def test_a_run_leaves_its_newest_checkpoints_and_names_the_last_ones_model(tmp_path: Path) -> None:
    result = Stack().train(configured(tmp_path, updates=7))
    assert result.model == tmp_path / checkpoint.FOLDER / "update-000007" / "model"
    assert (result.model / "config.json").is_file()
    assert sorted(path.name for path in result.model.parents[1].glob("update-*")) == ["update-000006", "update-000007"]


def test_a_run_that_is_told_to_records_what_it_learned_from(tmp_path: Path) -> None:
    stack = Stack()
    stack.train(configured(tmp_path, updates=2, record="rollouts", validation=ValidationConfig(every=9, tasks=2)))
    recorded = [list(read_groups(tmp_path / "rollouts" / f"update-{number:06d}.jsonl.zst")) for number in (1, 2)]
    assert [[group.task_id for group in groups] for groups in recorded] == [
        [task.task_id for task in training_tasks(("1", "2", "3", "4"), seed=0, update=number, groups=3)]
        for number in (0, 1)
    ]
    assert {group.revisions for groups in recorded for group in groups} == {None}


def test_revisions_are_recorded_with_the_rollouts(tmp_path: Path) -> None:
    stack = Stack(script=stops_at_first)
    stack.train(configured(tmp_path, updates=1, record="rollouts", estimator={"name": "ibpo"}))
    groups = list(read_groups(tmp_path / "rollouts" / "update-000001.jsonl.zst"))
    assert [
        [(one.trajectory.sibling, one.reference, one.credit) for one in group.revisions or ()] for group in groups
    ] == [[(0, 1, 0.5)]] * 3


# --- resume -------------------------------------------------------------------------------------------------------

RESUMED: list[dict[str, Any]] = [{"name": "gigpo"}, {"name": "bipace", "eps": "auto", "layer": -1}, {"name": "ibpo"}]


@pytest.mark.parametrize("estimator", RESUMED, ids=lambda estimator: estimator["name"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, estimator: dict[str, Any]) -> None:
    whole, killed, resumed = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", estimator=estimator, updates=6))
    killed.learner.dies_at = 5  # the checkpoint after update 4 is there, the work of update 5 is lost
    cut_short = configured(tmp_path / "cut", estimator=estimator, updates=6, resume="auto")
    with pytest.raises(KeyboardInterrupt):
        killed.train(cut_short)
    result = resumed.train(cut_short)

    assert resumed.learner.word == whole.learner.word
    asked = plain(resumed.policy.asked)  # tasks, seeds, prompts and the turns before them
    assert asked == plain(whole.policy.asked)[-len(asked) :]
    assert resumed.events[:2] == ["publish 4", "serve 4"]
    assert [number for number, _ in result.validations] == [6]
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")
    states = [latest(tmp_path / name) for name in ("cut", "whole")]
    assert [read_state(folder) for folder in states if folder] == [read_state(states[0] or tmp_path)] * 2


def lasting(output: Path) -> list[dict[str, float]]:
    """Rows without what a clock says."""
    return [{name: value for name, value in row.items() if not name.startswith(TIMED)} for row in read_metrics(output)]


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    whole, killed, again = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole"))
    killed.learner.dies_at = 2
    with pytest.raises(KeyboardInterrupt):
        killed.train(configured(tmp_path / "cut"))
    again.train(configured(tmp_path / "cut"))
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def test_more_updates_can_be_asked_for_afterwards(tmp_path: Path) -> None:
    whole, first, second = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", updates=4))
    first.train(configured(tmp_path / "parts", updates=2))
    second.train(configured(tmp_path / "parts", updates=4, resume="auto"))
    assert second.learner.word == whole.learner.word


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "already holds a run: go on with resume=auto"),
        ({"resume": "auto"}, "has done 2: raise updates"),
        ({"resume": "auto", "updates": 4, "seed": 1}, "seed=0, this run has seed=1"),
        ({"resume": "auto", "updates": 4, "group_size": 3}, "group_size=2, this run has group_size=3"),
        ({"resume": "auto", "updates": 4, "model": None}, "model.prompt_tokens="),
    ],
)
def test_a_folder_of_another_run_is_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    Stack().train(configured(tmp_path, updates=2))
    if "model" in changes:
        model = defaults().model
        changes = {**changes, "model": replace(model, prompt_tokens=model.prompt_tokens - 1)}
    refused = Stack()
    with pytest.raises(ConfigError, match=named):
        refused.train(configured(tmp_path, **{"updates": 2, **changes}))
    assert refused.events == []


class Impatient(Display):
    """Finds every look at the clock thirty seconds late, and looks whenever work begins."""

    def __init__(self) -> None:
        self.out, self.now = StringIO(), 0.0
        super().__init__(Console(file=self.out, soft_wrap=True), clock=lambda: self.now)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        with super().doing(what):
            self.now += 30
            self.beat()
            yield


def test_every_phase_of_a_run_can_say_what_it_does(tmp_path: Path) -> None:
    display = Impatient()
    Stack().train(configured(tmp_path, updates=2), display)
    lines = display.out.getvalue().splitlines()
    beats = [line.removeprefix("· ").removesuffix(" for 30 s") for line in lines if line.startswith("·")]
    phases = ("score", "credit", "learn", "publish")
    assert beats == [
        "publish",
        "updates 0/2, rollouts of update 1 0/6, collect",
        *(f"updates 0/2, {phase}" for phase in phases),
        "updates 1/2, rollouts of update 2 0/6, collect",
        *(f"updates 1/2, {phase}" for phase in phases),
        "updates 1/2, checkpoint",
    ]


def test_the_line_of_an_update_fits_a_terminal_of_eighty_columns(tmp_path: Path) -> None:
    display = Impatient()
    Stack().train(configured(tmp_path, updates=2), display)
    lines = [line for line in display.out.getvalue().splitlines() if line.startswith("update ")]
    assert [line.split()[:3] for line in lines] == [["update", "1/2", "success"], ["update", "2/2", "success"]]
    assert max(map(len, lines)) + len("150/150") - len("2/2") + len("999.9") - len("0.0") <= 80
