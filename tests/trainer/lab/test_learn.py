"""Learning in worlds of known truth: exact scores, gradients against loops, and credit that learns or unlearns."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from estimators import Advantages, Estimator, StepBatch, build
from trainer.config.build import ConfigError
from trainer.lab.learn.config import LearnConfig
from trainer.lab.learn.curve import Reached, curve_of, progress, reached, train
from trainer.lab.learn.report import Learned
from trainer.lab.learn.run import learn, plan_learn
from trainer.lab.learn.school import School, best_score, shared_features
from trainer.lab.worlds.bench import WORLDS
from trainer.lab.worlds.bench.delay import delayed_effect
from trainer.lab.worlds.bench.recov import recovery
from trainer.lab.worlds.bench.stop import variable_horizon
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Floats, true_gradient
from trainer.report.progress import Display

OPTIONS = {"policies": 8, "size": 8, "rollouts": 32, "updates": 25, "rate": 2.0}


@pytest.mark.parametrize("name", WORLDS)
def test_a_policy_starts_as_the_worlds_own_with_its_exact_score(name: str) -> None:
    world = WORLDS[name](0)
    school = School(world)
    chances = school.chances(school.start(2))
    assert chances[1, :, 0] == pytest.approx(world.policy)
    assert school.scores(school.values(chances)) == pytest.approx([world.score.mean()] * 2)


def test_the_exact_credit_gives_the_true_gradient_on_average() -> None:
    world = WORLDS["mend"](0)
    school = School(world)
    chances = school.chances(school.start(1))
    rows = school.play(chances, school.values(chances), groups=1, size=20000, first=0, rng=np.random.default_rng(0))
    credit = world.advantage[rows.batch.time, rows.state, rows.action]
    gradient = school.gradient(rows, credit, chances)[0, world.shown, 0] / 20000
    assert gradient == pytest.approx(true_gradient(world)[0], abs=0.05)


def test_shared_features_carry_a_step_from_one_text_to_another() -> None:
    world = replace(recovery(), texts=3)
    kernel = shared_features(world, np.random.default_rng(0))
    table, shared = School(world), School(world, kernel)
    chances = table.chances(table.start(2))
    rows = table.play(chances, table.values(chances), groups=1, size=8, first=0, rng=np.random.default_rng(0))
    credit = np.where((rows.state == 0) & (rows.text == 0), 1.0, 0.0)
    alone, carried = (school.gradient(rows, credit, chances) for school in (table, shared))
    assert np.abs(alone[:, :, 1:]).max() == 0.0
    assert np.abs(carried[:, :, 1:]).max() > 0.0
    assert carried == pytest.approx((kernel @ alone.reshape(2, 6, 2)).reshape(alone.shape))


@pytest.mark.parametrize(
    ("world", "best"),
    [(recovery(), 1.0), (delayed_effect(horizon=4), 0.8), (recovery(chance=0.5, skill=0.3), 1.0)],
    ids=["recov", "delay", "rare"],
)
def test_the_best_score_is_the_optimum(world: object, best: float) -> None:
    assert best_score(world) == pytest.approx(best, abs=0.01)  # pyright: ignore[reportArgumentType]


def test_the_best_score_without_the_turn_is_that_of_one_chance_to_stop() -> None:
    # A policy that cannot see the turn has one number p; its score is a polynomial of p.
    world = variable_horizon()
    grid = [variable_horizon(stops=p).score[0] for p in np.linspace(0.01, 0.99, 99)]
    assert best_score(world) == pytest.approx(max(grid), abs=0.005)


def test_the_best_score_is_the_highest_of_several_tops() -> None:
    # It pays best never to stop. From the world's own policy small steps lead to a lower top.
    world = WORLDS["stop"](14)
    assert (world.paid * world.chance).sum(-1)[-1, 0] == SUCCESS_REWARD
    assert best_score(world) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["recov", "mend", "grade"])
def test_credit_learns_and_its_negative_unlearns(name: str) -> None:
    world = WORLDS[name](1)
    school, best = School(world), best_score(world)

    def negated(batch: StepBatch) -> Advantages:
        return Advantages(value=-build("gigpo")(batch).value)

    learned, unlearned = (
        progress(train(school, estimator, **OPTIONS, rng=np.random.default_rng(0)), best)[-1].mean()
        for estimator in (build("gigpo"), negated)
    )
    assert learned > 0.5
    assert unlearned < 0.0


@pytest.mark.parametrize("name", ["beacon", "hiper"])
def test_credit_that_reads_sub_goals_learns_too(name: str) -> None:
    world = WORLDS["mend"](1)
    school, best = School(world), best_score(world)
    scores = train(school, build(name), **{**OPTIONS, "updates": 10}, rng=np.random.default_rng(0))
    assert progress(scores, best)[-1].mean() > 0.3


def test_play_tells_the_milestones_and_sub_goals_of_the_worlds_own_rollouts() -> None:
    world = WORLDS["craft"](1)
    school = School(world)
    chances = school.chances(school.start(2))
    batch = school.play(chances, school.values(chances), groups=2, size=8, first=0, rng=np.random.default_rng(0)).batch
    assert batch.milestone is not None
    assert batch.switch is not None
    gained = np.zeros(len(batch), np.bool_)
    for rows in batch.rollouts.parts():
        gained[rows] = np.diff(batch.milestone[rows], prepend=0) > 0
        assert batch.switch[rows].tolist() == [True, *gained[rows][:-1].tolist()]
    assert gained.any()


def test_policies_that_learn_beside_each_other_share_no_statistics() -> None:
    # A mean over the batch would: so such an estimator gets each policy's rows on their own.
    school = School(WORLDS["mend"](0))
    for name in ("reinforce_pp", "gigpo"):
        both = train(school, build(name), **{**OPTIONS, "updates": 1}, rng=np.random.default_rng(0))
        chances = school.chances(school.start(8))
        rows = school.play(chances, school.values(chances), groups=4, size=8, first=0, rng=np.random.default_rng(0))
        mine = rows.owner == 3
        batch = rows.batch
        own = StepBatch(
            group=batch.group[mine],
            trajectory=batch.trajectory[mine],
            time=batch.time[mine],
            reward=batch.reward[mine],
            invalid=batch.invalid[mine],
            state=batch.state[mine],
            action=batch.action[mine],
        )
        credit = np.zeros(len(mine))
        credit[mine] = build(name)(own).value
        gradient = school.gradient(rows, credit, chances)[3:4]
        moved = [
            school.scores(school.values(school.chances(school.start(1) + step * gradient)))[0] for step in (0.0, 1e-3)
        ]
        assert np.sign(moved[1] - moved[0]) == np.sign(both[1, 3] - both[0, 3])


def test_the_median_has_an_interval_of_order_statistics_and_late_policies_count() -> None:
    way = np.zeros((11, 9))
    for policy, update in enumerate([1, 2, 3, 4, 5, 6, 7, 8]):
        way[update:, policy] = 1.0  # the ninth never gets there
    assert reached(way, 0.5) == Reached(median=5, low=2, high=8)
    assert reached(np.zeros((11, 9)), 0.5) == Reached(median=None, low=None, high=None)


def test_a_curve_in_numbers() -> None:
    scores = np.array([[0.2, 0.2], [0.4, 0.6], [0.6, 0.6]])
    curve = curve_of(scores, best=0.6, world="w", estimator="e", size=4, rate=1.0, rates=(1.0, 2.0))
    assert curve.mean == pytest.approx((0.0, 0.75, 1.0))
    assert curve.area.value == pytest.approx((0.75 + 1.0) / 2)
    assert curve.edge
    assert [entry.median for entry in curve.reached] == [1, 1, 1]


def test_learning_leaves_tables_a_picture_and_every_number(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=80)
    config = LearnConfig(
        output=str(tmp_path),
        estimators=("grpo", "gigpo"),
        worlds=("recov", "delay"),
        sizes=(4, 8),
        updates=3,
        seeds=4,
        rates=(1.0, 2.0),
        tuning_seeds=2,
        policy="shared",
        texts=2,
    )
    learned = learn(plan_learn(config), Display(console))
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert printed.count("to 80 %") == 2  # a table for each group size
    numbers = json.loads((tmp_path / "learn.json").read_text())
    assert [(it["world"], it["estimator"], it["size"]) for it in numbers["curves"]] == [
        (world, name, size) for world in ("recov", "delay") for name in ("grpo", "gigpo") for size in (4, 8)
    ]
    assert numbers["curves"][0]["area"]["value"] == learned.curves[0].area.value
    assert {path.name for path in tmp_path.iterdir()} == {
        f"learn.{end}" for end in ("json", "md", "html", "svg", "png")
    }
    assert learn(plan_learn(config), Display(Console(file=StringIO()))).curves == learned.curves


def small(output: Path, **changes: Any) -> LearnConfig:
    settings = {"estimators": ("grpo", "gigpo"), "worlds": ("recov",), "sizes": (4, 8), "updates": 2, "seeds": 3}
    return LearnConfig(output=str(output), **{**settings, "rates": (0.5,), **changes})


def learned(config: LearnConfig) -> Learned:
    return learn(plan_learn(config), Display(Console(file=StringIO())))


def test_a_comparison_goes_on_where_it_was_ended_and_may_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learned(small(tmp_path / "whole", worlds=("recov", "delay"), estimators=("gigpo", "rloo", "grpo")))
    learned(small(tmp_path / "parts"))
    trained = list[Estimator]()

    def counted(school: School, estimator: Estimator, **options: Any) -> Floats:
        trained.append(estimator)
        return train(school, estimator, **options)

    monkeypatch.setattr("trainer.lab.learn.run.train", counted)
    grown = {"worlds": ("recov", "delay"), "estimators": ("gigpo", "rloo", "grpo"), "resume": "auto"}
    assert learned(small(tmp_path / "parts", **grown)).curves == whole.curves
    assert len(trained) == 2 * (1 + 3)  # two sizes: rloo in recov, all three in delay
    trained.clear()
    assert learned(small(tmp_path / "parts", **grown)).curves == whole.curves
    assert trained == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"updates": 3}, r"learn\.json was made with updates=2, and now it is 3: give the same, or another output"),
        ({"estimators": ("grpo",)}, r"has curves of 'gigpo' in 'recov', which would be lost: ask for both"),
        ({"worlds": ("delay",)}, r"has curves of 'grpo' in 'recov', which would be lost: ask for both"),
    ],
)
def test_curves_that_do_not_belong_together_are_not_mixed(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    learned(small(tmp_path))
    with pytest.raises(ConfigError, match=said):
        learned(small(tmp_path, resume="auto", **changes))
    (tmp_path / "learn.json").write_text("{")
    with pytest.raises(ConfigError, match=r"learn\.json is broken \(.*\): remove it"):
        learned(small(tmp_path, resume="auto", **changes))
