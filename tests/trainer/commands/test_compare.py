"""`stepcredit compare` puts finished evaluations of one panel into one table, and refuses what cannot be compared."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.commands.conftest import Stepcredit, evaluation_folder, refused
from trainer.commands.compare import plan_compare, show_comparison
from trainer.config.compare import CompareConfig
from trainer.report.progress import Display


def evaluated(folder: Path, *wins: int, samples: int = 1) -> str:
    evaluation_folder(folder, *wins, samples=samples)
    return str(folder)


def compared(*folders: str, **settings: Any) -> str:
    """What is printed on 80 columns."""
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False, soft_wrap=True)
    plan = plan_compare(CompareConfig(folders=folders, **settings))
    show_comparison(plan, Display(console))
    return console.export_text()


def test_each_row_shows_its_rate_and_what_it_solves_more_than_the_first(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "grpo", *[1] * 8, *[0] * 12)
    second = evaluated(tmp_path / "gigpo", *[1] * 16, *[0] * 4)
    printed = compared(first, second)
    assert max(map(len, printed.splitlines())) <= 80
    assert "20 tasks of corridor test, panel 0123456789abcdef" in printed
    assert "grpo " in printed
    assert "40.0 [21.9, 61.3]" in printed
    assert "80.0 [58.4, 91.9]" in printed
    assert "+40.0 [+12.6, +60.1]" in printed
    assert "0.0078" in printed  # 2 / 2**8: McNemar's exact test of 8 tasks against none
    assert "They differ in model.source." in printed


def test_the_rows_of_a_table_of_values_hold_every_kind_and_pass_at_k(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a", *[0, 2] * 10, samples=4)
    second = evaluated(tmp_path / "b", *[0, 1] * 10)
    rows = list(csv.DictReader(io.StringIO(compared(first, second, kinds=True, format="csv"))))
    assert [(row["evaluation"], row["kind"]) for row in rows] == [
        (name, kind) for kind in ("all", "even", "odd") for name in ("a", "b")
    ]
    assert [row["success"] for row in rows] == ["0.25", "0.5", "0.0", "0.0", "0.5", "1.0"]
    assert [row["difference"] for row in rows] == ["", "0.25", "", "0.0", "", "0.5"]
    assert [row["pass@4"] for row in rows] == ["0.5", "", "0.0", "", "1.0", ""]
    assert [row["samples"] for row in rows] == ["4", "1"] * 3
    markdown = compared(first, second, format="markdown").splitlines()
    assert markdown[0].startswith("| evaluation | model | kind | tasks | samples | success | low | high | pass@1 |")
    assert markdown[2].startswith("| a | a | all | 20 | 4 | 0.25 |")
    values = json.loads(compared(first, second, format="json"))
    assert [value["success"] for value in values] == [0.25, 0.5]


def test_folders_of_one_name_are_told_apart_by_what_stands_before_it(tmp_path: Path) -> None:
    printed = compared(evaluated(tmp_path / "a" / "last", 1, 0), evaluated(tmp_path / "b" / "last", 0, 1))
    assert "a/last" in printed
    assert "b/last" in printed


def test_the_words_before_the_settings_are_the_folders(stepcredit: Stepcredit, tmp_path: Path) -> None:
    names = ["first", "sec=ond", "it's"]
    for name in names:
        evaluated(tmp_path / name, 1, 0)
    ended = stepcredit("compare", *names, "kinds=true", "--markdown")
    assert (ended.code, ended.err) == (0, "")
    ((_, config),) = stepcredit.runs
    assert (config.folders, config.kinds, config.format) == (tuple(names), True, "markdown")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"protocol": {"name": "x"}, "endpoint_prices": {"input": 1}, "model": {"shape": {"layers": 2}}}, ""),
        ({"cluster": {"gpus": 2}, "engine": {"max_num_seqs": 5}, "endpoint_patience_s": 1}, ""),
        (
            {"cluster": {"dtype": "float16"}, "engine": {"extra": {"quantization": "fp8"}}},
            "They differ in cluster.dtype, engine.extra.quantization.",
        ),
        ({"endpoint": "http://b/v1", "cluster": {"dtype": "float16"}}, "They differ in endpoint."),
    ],
)
def test_only_settings_that_may_change_what_is_measured_are_named(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    folders = [evaluated(tmp_path / name / "one", 1, 0) for name in "ab"]
    config = tmp_path / "b" / "one" / "config.json"
    before = json.loads(config.read_text())
    model = before["model"] | settings.get("model", {})
    config.write_text(json.dumps(before | settings | {"model": model}))
    printed = compared(*folders)
    assert (named in printed) if named else ("They differ" not in printed)


def test_names_in_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    printed = compared(evaluated(tmp_path / "seed=[b]", 1, 0), evaluated(tmp_path / "[", 1, 1), kinds=True)
    assert "seed=[b]" in printed


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("stepcredit compare DIR DIR",)),
        (("a",), ("folders=['a']", "two folders or more")),
        (("a", "a"), ("a is named twice", "name each evaluation once")),
        (("a", "none"), ("none has no evaluation.json", "the output folder of stepcredit evaluate")),
        (("a", "half"), ("half is not finished", "resume=auto output=")),
        (("a", "alone"), ("alone has no config.json", "beside evaluation.json: bring it too")),
        (("a", "broken"), ("broken/evaluation.json is broken or of an earlier version", "another output folder")),
        (("a", "old"), ("old/evaluation.json is broken or of an earlier version (KeyError('tasks'))",)),
        (
            ("a", "b", "other"),
            ("a is of 2 tasks of corridor test, panel 0123456789abcdef and ", "panel ffffffffffffffff", "same tasks"),
        ),
        (("one", "one2"), ("one is of one task", "two or more")),
        (("a", "b", "format=html"), ("format='html'",)),
    ],
)
def test_what_cannot_be_compared_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    for name in ("a", "b", "other", "old", "broken", "alone"):
        evaluated(tmp_path / name, 1, 0)
    (tmp_path / "alone" / "config.json").unlink()
    for name in ("one", "one2"):
        evaluated(tmp_path / name, 1)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "rollouts.jsonl").write_text("")
    file = tmp_path / "other" / "evaluation.json"
    file.write_text(file.read_text().replace("0123456789abcdef", "f" * 16))
    (tmp_path / "old" / "evaluation.json").write_text(json.dumps({"panel": {}}))
    (tmp_path / "broken" / "evaluation.json").write_text("{")
    line = refused(stepcredit, "compare", *words)
    assert all(part in line for part in parts), line
