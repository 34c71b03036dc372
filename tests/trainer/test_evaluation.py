"""Success rates with Wilson's interval, overall and by kind of task; every task counts once."""

import math
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.base import EnvStep
from envs.panel import Panel
from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.collection import DroppedGroup, PlayCounts
from rollout.policy import Key, PromptTooLong
from rollout.pool import EnvWorker
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup
from tests.fakes import CORRIDOR_PROMPTS, SAMPLING, Corridor, LocalPool, ScriptedPolicy, group, plain, step, tasks
from trainer.config.settings import EnvConfig
from trainer.evaluation import evaluation, play_held_out
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.panels import panel
from trainer.setup.world import World, open_world

GROUPS = (
    group((step("go"), step("go")), task_id="1", won=[True]),
    group((step("go"), step("fly", valid=False), step("go"), step("go")), task_id="2"),
    group((step("go"), step("go")), task_id="3", won=[True]),
)


def lossy() -> Collected:
    """Tasks 1 to 3 as in `GROUPS`; 4 and 6 outgrew their prompts, the world of 5 broke."""
    reasons = ("prompt_too_long", "env_error", "prompt_too_long")
    lost = [DroppedGroup(task=task, reason=reason) for task, reason in zip(tasks("4", "5", "6"), reasons, strict=True)]
    return Collected(groups=GROUPS, counts=PlayCounts(dropped=tuple(lost)))


def wilson(wins: int, total: int) -> tuple[float, float]:
    """Wilson 1927, with the normal's 97.5 % quantile."""
    z = 1.959963984540054
    share = wins / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return center - half, center + half


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons_formula(counts: tuple[int, int]) -> None:
    wins, total = counts
    assert Rate(wins=wins, total=total).interval == pytest.approx(wilson(wins, total), abs=1e-12)


@pytest.mark.parametrize(
    ("wins", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],  # Newcombe 1998, table I, method 3
)
def test_the_interval_equals_published_examples(wins: int, total: int, low: float, high: float) -> None:
    assert Rate(wins=wins, total=total).interval == pytest.approx((low, high), abs=5e-5)


def test_a_rate_shows_its_interval_and_its_counts() -> None:
    assert str(Rate(wins=81, total=263)) == "30.8 % [25.5, 36.6] (81/263)"


@pytest.mark.parametrize(("wins", "total"), [(0, 0), (2, 1), (-1, 3)])
def test_a_rate_of_nothing_is_refused(wins: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{wins} wins of {total}"):
        Rate(wins=wins, total=total)


def test_an_evaluation_averages_over_rollouts_and_over_steps() -> None:
    held_out = evaluation(Collected(groups=GROUPS), Corridor().kind)
    assert held_out.overall == Rate(wins=2, total=3)
    assert held_out.by_kind == {"even": Rate(wins=0, total=1), "odd": Rate(wins=2, total=2)}
    assert list(held_out.by_kind) == ["even", "odd"]
    assert held_out.mean_score == 2 / 3
    assert held_out.mean_steps == 8 / 3
    assert held_out.invalid_share == 1 / 8
    assert held_out.trajectories == tuple(rollout for each in GROUPS for rollout in each.trajectories)


def test_a_task_that_could_not_be_played_counts_as_not_solved_and_is_told_beside_the_rate() -> None:
    held_out = evaluation(lossy(), Corridor().kind)
    assert held_out.overall == Rate(wins=2, total=6)
    assert held_out.by_kind == {"even": Rate(wins=0, total=3), "odd": Rate(wins=2, total=3)}
    assert str(held_out) == "33.3 % [9.7, 70.0] (2/6), 3 not played: 2 prompt_too_long, 1 env_error"
    assert held_out.kind_words("even") == "0.0 % [0.0, 56.1] (0/3), 2 not played: prompt_too_long"
    assert held_out.kind_words("odd") == "66.7 % [20.8, 93.9] (2/3), 1 not played: env_error"
    assert held_out.mean_score == 2 / 6
    assert held_out.mean_steps == 8 / 3  # of those that were played


def test_nothing_is_told_beside_a_rate_of_tasks_that_were_all_played() -> None:
    assert str(evaluation(Collected(groups=GROUPS), str)) == "66.7 % [20.8, 93.9] (2/3)"


class LongCorridor(Corridor):
    """Validates on tasks 1 to 4."""

    def tasks(self, split: str) -> tuple[str, ...]:
        return ("1", "2", "3", "4")


def held_out_of_four(policy: ScriptedPolicy, share: float) -> Collected:
    """Four validation tasks played by `policy`."""
    corridor = LongCorridor()
    world = World(env=corridor, prompter=CORRIDOR_PROMPTS, train=(), validation=tuple(corridor.tasks("test")))
    config = RolloutConfig(history=6, max_failure_share=share)
    collector = Collector(policy=policy, pool=LocalPool(), prompter=CORRIDOR_PROMPTS, config=config)  # pyright: ignore
    return play_held_out(collector, world, count=None, sampling=SAMPLING, seed=0, display=Display())


def outgrown_by(*numbers: int) -> ScriptedPolicy:
    """Walks, but has no room for the second turn of these tasks."""

    def say(key: Key) -> str:
        if key[0] in numbers and key[-1] == 1:
            raise PromptTooLong("prompt of 1033 tokens, the limit is 1024")
        return "go"

    return ScriptedPolicy(say)


def test_four_tasks_of_which_three_are_solved_and_one_outgrows_its_prompt_are_three_of_four() -> None:
    collected = held_out_of_four(outgrown_by(2), 0.25)
    assert str(evaluation(collected, Corridor().kind)) == "75.0 % [30.1, 95.4] (3/4), 1 not played: prompt_too_long"


def test_held_out_tasks_of_which_too_many_cannot_be_played_are_refused() -> None:
    with pytest.raises(RolloutsFailed, match=r"2 of 4 groups dropped .*'prompt_too_long': 2.*max_failure_share=0.25"):
        held_out_of_four(outgrown_by(1, 2), 0.25)


def test_held_out_tasks_none_of_which_can_be_played_are_refused_whatever_the_share() -> None:
    with pytest.raises(RolloutsFailed, match=r"all 4 of 4 groups dropped .*the limit is 3 "):
        held_out_of_four(ScriptedPolicy(prompt_tokens=3), 1.0)


def seeds_of(count: int | None, samples: int = 1) -> dict[tuple[str, int, int], int]:
    """(task, sample, turn) -> the seed of its request, in a panel of so many tasks of four."""
    policy, corridor = ScriptedPolicy(), LongCorridor()
    world = World(env=corridor, prompter=CORRIDOR_PROMPTS, train=(), validation=tuple(corridor.tasks("test")))
    config = RolloutConfig(history=6)
    collector = Collector(policy=policy, pool=LocalPool(), prompter=CORRIDOR_PROMPTS, config=config)  # pyright: ignore
    play_held_out(collector, world, count=count, samples=samples, sampling=SAMPLING, seed=0, display=Display())
    of = " of length "
    named = [(asked.messages[0].content.split(of)[1].split()[0], asked) for asked in policy.asked]
    return {(task, asked.key[1], asked.key[2]): asked.seed for task, asked in named}


def test_a_task_is_sampled_with_the_same_seeds_whatever_panel_it_is_in_and_however_many_samples_it_has() -> None:
    small, whole, many = seeds_of(2), seeds_of(None), seeds_of(None, samples=3)
    assert {task for task, _, _ in small} == {"1", "3"}
    assert small.items() <= whole.items() <= many.items()
    assert len(set(many.values())) == len(many) == 3 * (1 + 2 + 3 + 4)


class InWorker:
    """One episode in a worker's process, as an `Env` of this process."""

    def __init__(self, worker: EnvWorker, number: int) -> None:
        self._worker, self._number = worker, number

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        return self._worker.reset(self._number, task_id, seed)

    def step(self, action: str) -> EnvStep:
        return self._worker.step(self._number, action)


def pool_of(workers: int, data: Path) -> LocalPool:
    """Deals the episodes to so many workers in turn."""
    numbered = count()
    inside = [EnvWorker("alfworld", {"data": data}) for _ in range(workers)]

    def episode() -> InWorker:
        number = next(numbered)
        return InWorker(inside[number % workers], number)

    return LocalPool(episode)  # pyright: ignore[reportArgumentType]


def held_out_games(folder: Path, workers: int, tasks: int | None) -> tuple[Panel, Collected, list[tuple[Key, int]]]:
    """The panel of valid_seen, its rollouts, and the sampling seed of each request."""
    env = EnvConfig(world="alfworld", options={"data": str(folder)}, validation_split="valid_seen")
    world, policy = open_world(env), ScriptedPolicy(lambda key: ("look", "inventory", "fly")[sum(key) % 3])
    config = RolloutConfig(history=2)
    pool = pool_of(workers, folder)
    collector = Collector(policy=policy, pool=pool, prompter=world.prompter, config=config)  # pyright: ignore
    collected = play_held_out(collector, world, count=tasks, sampling=SAMPLING, seed=0, display=Display())
    seeds = sorted((asked.key, asked.seed) for asked in policy.asked)
    return panel(env, world, "valid_seen", tasks), collected, seeds


@pytest.mark.parametrize("tasks", [None, 3])
def test_an_evaluation_plays_each_task_of_its_panel_once_alike_with_any_workers_and_any_listing_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: int | None
) -> None:
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "cache"))
    listed, results = Path.glob, list[tuple[Panel, Collected, list[tuple[Key, int]]]]()
    write_households(Households(train=1, held_out=5), tmp_path / "games")
    for workers in (1, 2, 5):

        def glob(folder: Path, pattern: str, by: int = workers) -> Iterator[Path]:
            return iter(sorted(listed(folder, pattern), key=lambda path: derive_seed(by, path.as_posix())))

        monkeypatch.setattr(Path, "glob", glob)
        shutil.copytree(tmp_path / "games", tmp_path / str(workers))
        results.append(held_out_games(tmp_path / str(workers), workers, tasks))
    (manifest, collected, seeds), *others = results
    assert [group.task_id for group in collected.groups] == [task.task_id for task in manifest.tasks]
    assert len(manifest.tasks) == (tasks or 5)
    assert len({seed for _, seed in seeds}) == len(seeds)
    for other in others:
        assert (other[0], other[2]) == (manifest, seeds)
        assert plain(other[1].groups) == plain(collected.groups)


def test_the_kinds_add_up_to_the_whole() -> None:
    held_out = evaluation(lossy(), lambda task_id: task_id)
    assert sum(rate.wins for rate in held_out.by_kind.values()) == held_out.overall.wins
    assert sum(rate.total for rate in held_out.by_kind.values()) == held_out.overall.total


@pytest.mark.parametrize("groups", [(), (RolloutGroup(task_id="1", seed=0, trajectories=()),)])
def test_an_evaluation_of_nothing_is_refused(groups: tuple[RolloutGroup, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluation(Collected(groups=groups), str)
