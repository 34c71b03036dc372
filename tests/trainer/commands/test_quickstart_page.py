"""The page and the table show what the run measured; the page is one file, and no text of a world can break it."""

import json
import re
from functools import cache
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.patches import StepPatch
from omegaconf import OmegaConf

from rollout.collect import Collected
from rollout.collection import DroppedGroup, PlayCounts
from rollout.types import RolloutGroup
from tests.fakes import group, step, tasks
from trainer.commands.defaults import register
from trainer.commands.quickstart_page import write_report
from trainer.config.build import build
from trainer.config.commands import TrainConfig
from trainer.evaluation import Evaluation, evaluation
from trainer.report import charts
from trainer.report.rate import Rate
from trainer.run import RunResult

CREDIT = {"credit/cluster_size_mean": 4.0, "credit/cluster_size_p90": 8.0, "credit/share_contrast": 0.5}
CREDIT |= {"credit/share_no_contrast": 0.25, "credit/share_singleton": 0.25}
SUCCESS = [0.125, 0.25, 0.5, 0.75]


@cache
def config() -> TrainConfig:
    register()
    with initialize_config_dir(str(Path(__file__).parents[3] / "configs"), version_base="1.3"):
        values = compose("train", overrides=["output=out", "groups_per_update=16", "group_size=8"])
    return build(TrainConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]


def kind_of(task_id: str) -> str:
    return f"depth {task_id.partition('-')[0]}"


def played(wins: dict[str, bool]) -> Evaluation:
    """One rollout of each task: of two turns, the second one valid where it wins."""
    return evaluated(*(one(task_id, won=won) for task_id, won in wins.items()))


def evaluated(*groups: RolloutGroup, lost: tuple[DroppedGroup, ...] = ()) -> Evaluation:
    return evaluation(Collected(groups=groups, counts=PlayCounts(dropped=lost)), kind_of)


def one(task_id: str, *, won: bool, action: str = "go", state: str = "0") -> RolloutGroup:
    return group((step(action, state=state), step("leap", valid=won)), task_id=task_id, won=[won])


BEFORE = played({"2-a": False, "2-b": True, "2-c": True, "10-a": False})
AFTER = played({"2-a": True, "2-b": True, "2-c": False, "10-a": True})


def report(output: Path, *found: Evaluation, credit: dict[str, float] = CREDIT) -> tuple[str, tuple[str, ...]]:
    """The page and the lines of a run of four updates with validations spread over it."""
    (output / "train").mkdir()
    rows: list[dict[str, float]] = [{"update": 0, "validation/success": 0.5}]
    for number, success in enumerate(SUCCESS, start=1):
        learn = {"learn/entropy": 1.0 / number, "learn/clip_share": 0.0, "rollout/invalid": 0.25}
        seconds = {"seconds/collect": 2.0 * number, "seconds/learn": 15.0}
        flat = {"credit/flat_group_share": 0.5}
        rows.append({"update": number, "rollout/success": success, **learn, **flat, **credit, **seconds})
    (output / "train" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = np.linspace(0, len(SUCCESS), len(found), dtype=int).tolist()
    result = RunResult(validations=tuple(zip(numbers, found, strict=True)), model=output)
    lines = write_report(output, config(), (2.0, 1.0), result, kind_of)
    return (output / "report.html").read_text(), lines


def text(page: str) -> str:
    """What a reader sees, one blank between words; tags end a word."""
    body = re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def shown_task(page: str) -> str | None:
    found = re.search(r"before and after</h2>\s*<p><code>(.*?)</code>", page)
    return found and found[1]


def test_the_page_says_what_the_validations_found(tmp_path: Path) -> None:
    seen = text(report(tmp_path, BEFORE, played({"2-a": True}), AFTER)[0])
    assert "Success on 4 held-out textcraft tasks" in seen
    # Of four tasks two and three, of depth 2 two of three both times, of depth 10 none and one; Wilson's 95 %.
    assert "50.0 % before the first update 15.0 to 85.0 %, 2 of 4" in seen
    assert "75.0 % after update 4 30.1 to 95.4 %, 3 of 4 +25.0 points" in seen
    assert "all 50.0 % 15.0 to 85.0 % 2 of 4 75.0 % 30.1 to 95.4 % 3 of 4 +25.0" in seen
    assert "depth 2 66.7 % 20.8 to 93.9 % 2 of 3 66.7 % 20.8 to 93.9 % 2 of 3 +0.0" in seen
    assert "depth 10 0.0 % 0.0 to 79.3 % 0 of 1 100.0 % 20.7 to 100.0 % 1 of 1 +100.0" in seen
    assert seen.index("depth 2 66.7") < seen.index("depth 10 0.0")
    assert "2 tasks went from failed to solved, 1 the other way" in seen
    assert "Turns a task: 2.0 before, 2.0 after. Invalid actions: 25.0 % before, 12.5 % after." in seen
    assert "4 updates of 16 tasks × 8 rollouts" in seen
    assert "ended at 1.00 nats a token after epoch 2." in seen


def test_the_page_and_the_table_say_what_could_not_be_played_and_count_it(tmp_path: Path) -> None:
    (task,) = tasks("2-b")
    lossy = evaluated(one("2-a", won=True), lost=(DroppedGroup(task=task, reason="env_error"),))
    page, lines = report(tmp_path, lossy, AFTER)
    seen = text(page)
    assert "50.0 % before the first update 9.5 to 90.5 %, 1 of 2" in seen
    assert "Before the first update, 1 not played: env_error. A task that could not be played counts as failed." in seen
    assert "After update 4, " not in seen
    assert "before the first update, 1 not played: env_error; they count as failures" in lines


def test_the_page_says_where_the_time_went(tmp_path: Path) -> None:
    seen = text(report(tmp_path, BEFORE, AFTER)[0])
    assert "collect 5.00 25.0 % learn 15.00 75.0 % all 20.00" in seen  # (2 + 4 + 6 + 8) / 4 seconds, and 15


def test_the_terminal_gets_the_same_numbers(tmp_path: Path) -> None:
    lines = report(tmp_path, BEFORE, AFTER)[1]
    assert [" ".join(line.split()) for line in lines] == [
        "success, % before the first update after update 4 change",
        "all 50.0 [15.0, 85.0] 2/4 75.0 [30.1, 95.4] 3/4 +25.0",
        "depth 2 66.7 [20.8, 93.9] 2/3 66.7 [20.8, 93.9] 2/3 +0.0",
        "depth 10 0.0 [0.0, 79.3] 0/1 100.0 [20.7, 100.0] 1/1 +100.0",
        "an update takes 20.0 s: collect 25.0%, learn 75.0%",
        f"report: {tmp_path / 'report.html'}",
    ]
    assert len({len(line) for line in lines[:4]}) == 1
    assert max(map(len, lines[:-1])) <= 80


def test_the_table_fits_a_terminal_with_long_kinds_many_tasks_and_all_phases(tmp_path: Path) -> None:
    tasks = [f"pick_clean_then_place_in_recep-{number}" for number in range(200)]
    solved = evaluation(
        Collected(groups=tuple(one(task, won=True) for task in tasks)), lambda task: task.partition("-")[0]
    )
    phases = dict.fromkeys(("revise", "score", "credit", "publish"), 100.0)
    lines = report(tmp_path, solved, solved, credit=CREDIT | {f"seconds/{name}": s for name, s in phases.items()})[1]
    assert max(map(len, lines[:-1])) <= 80
    row = "100.0 [98.1, 100.0] 200/200 100.0 [98.1, 100.0] 200/200 +0.0"
    assert [" ".join(line.split()) for line in lines[1:4]] == [f"all {row}", "pick_clean_then_place_in_recep", row]
    assert "publish 23.8%" in " ".join(lines[4:-1])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"2-a": False, "10-b": False, "10-a": False}, {"2-a": True, "10-b": True, "10-a": True}, "10-a"),
        ({"3-a": False, "3-b": False, "2-a": False}, {"3-a": False, "3-b": True, "2-a": True}, "3-b"),
        ({"3-a": True, "2-b": False, "2-a": True}, {"3-a": True, "2-b": True, "2-a": False}, "2-b"),
        ({"3-a": False, "2-a": False}, {"2-a": True}, "2-a"),  # the other task's second rollout was lost
        ({"2-a": False, "2-b": True}, {"2-a": False, "2-b": False}, None),
    ],
)
def test_the_example_is_the_first_of_the_deepest_tasks_that_were_newly_solved(
    tmp_path: Path, before: dict[str, bool], after: dict[str, bool], expected: str | None
) -> None:
    page, _ = report(tmp_path, played(before), played(after))
    assert shown_task(page) == expected
    assert ("so there is none to show" in page) == (expected is None)


def test_each_action_of_the_example_stands_with_what_the_world_answered(tmp_path: Path) -> None:
    before = evaluated(group((step("go", state="A"), step("", state="B", valid=False)), task_id="2-a"))
    after = evaluated(group((step("run", state="A"), step("jump", state="C")), task_id="2-a", won=[True]))
    seen = text(report(tmp_path, before, after)[0])
    assert "not solved in 2 turns go at B (nothing) not valid The step limit came first." in seen
    assert "After update 4 : solved in 2 turns run at C jump The task is solved." in seen


def test_no_text_of_world_or_policy_is_markup(tmp_path: Path) -> None:
    evil = "</b><script>alert('x')</script>&amp;"
    task = f"2-{evil}"
    before = evaluated(one(task, won=False, action=evil, state=evil))
    after = evaluated(one(task, won=True, action=evil, state=evil))
    page, _ = report(tmp_path, before, after)
    assert "<script" not in page
    assert unescape(page).count(evil) == 4  # the task's name, its first observation and two actions


def test_a_run_with_one_validation_claims_no_change(tmp_path: Path) -> None:
    page, lines = report(tmp_path, BEFORE)
    assert "50.0 % before the first update 15.0 to 85.0 %, 2 of 4" in text(page)
    assert "This run was validated once" in page
    assert not re.search(r"\bpoints|change|went from", text(page) + " ".join(lines[:-1]))


def test_a_run_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no validation.*: train it for an update or more"):
        report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_estimator_without_clusters_gets_no_picture_of_them(tmp_path: Path) -> None:
    page, _ = report(tmp_path, BEFORE, AFTER, credit={})
    assert "Flat groups" in page
    assert not re.search("Cluster size|What a step is compared with", page)


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    page, _ = report(tmp_path, BEFORE, AFTER)
    assert not re.search(r"<(script|link|img|iframe)|@import|\ssrc=", page)
    assert set(re.findall(r'[\w:-]+="https?://[^"]*"', page)) <= {
        'xmlns="http://www.w3.org/2000/svg"',
        'xmlns:xlink="http://www.w3.org/1999/xlink"',
    }
    assert set(re.findall(r"(?:url\(|href=\")(.)", page)) == {"#"}


def test_every_reference_finds_one_thing_with_that_id(tmp_path: Path) -> None:
    page, _ = report(tmp_path, BEFORE, AFTER)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", page)) <= set(ids)
    assert page.count("<svg") == 9  # curves wide and narrow, three of the learner, three of credit, time


def test_every_colour_has_a_light_and_a_dark_value(tmp_path: Path) -> None:
    page, _ = report(tmp_path, BEFORE, AFTER)
    assert charts.LIGHT.keys() == charts.DARK.keys()
    assert len(set(charts.LIGHT.values())) == len(charts.LIGHT)
    for drawn in (page, (tmp_path / "curves.svg").read_text()):
        assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= charts.LIGHT.keys()
        inside = re.sub(r"<style>.*?</style>", "", drawn, flags=re.DOTALL)
        assert not re.search(r"#[0-9a-f]{6}\b", inside)


def test_the_curves_are_the_numbers() -> None:
    rates = [(0, Rate(wins=1, total=4)), (7, Rate(wins=3, total=4))]
    training = [0.0, 0.5, 1.0, 0.5, 0.25, 0.75, 1.0]
    axes = charts.success(range(1, 8), training, rates).axes[0]
    dots, mean, held_out = (np.asarray(line.get_xydata()).tolist() for line in axes.lines)
    assert dots == [[number, 100 * share] for number, share in enumerate(training, start=1)]
    near = [[other for at, other in enumerate(training) if abs(at - middle) <= 2] for middle in range(7)]
    assert [share for _, share in mean] == pytest.approx([100 * sum(some) / len(some) for some in near])
    assert held_out == [[0.0, 25.0], [7.0, 75.0]]
    bars = next(each for each in axes.collections if len(each.get_paths()) == 2)
    assert [np.asarray(path.vertices).tolist() for path in bars.get_paths()] == [
        [[number, 100 * bound] for bound in rate.interval] for number, rate in rates
    ]


def test_a_stack_adds_up() -> None:
    axes = charts.panel([1, 2], {"a": [1.0, 2.0], "b": [4.0, 8.0]}, stacked=True).axes[0]
    stairs = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]
    assert [(list(data[0]), list(data[1])) for data in stairs] == [
        ([1.0, 2.0], [0.5, 1.5, 2.5]),
        ([5.0, 10.0], [0.5, 1.5, 2.5]),
    ]


def test_the_picture_for_the_readme_shows_the_held_out_curve(tmp_path: Path) -> None:
    report(tmp_path, BEFORE, AFTER)
    image = imread(tmp_path / "curves.png")[..., :3]
    for color in ("paper", "after"):
        assert np.isclose(image, to_rgb(charts.LIGHT[color]), atol=1 / 255).all(axis=-1).any()
