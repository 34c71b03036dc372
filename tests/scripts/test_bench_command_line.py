"""All benches have one command line: help, a quick run of seconds, and a last line of JSON with their numbers."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts" / "bench"
BENCHES = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
STARTS_ENGINES = ("publish",)
"""Their quick run is in tests/trainer/real/, which has Ray."""


def check_numbers(text: str) -> None:
    """The last line of `text` is one JSON object with the bench's numbers."""
    numbers = json.loads(text.splitlines()[-1])
    assert len(numbers) > 1
    assert [value for value in numbers.values() if not isinstance(value, int | float | None)] == []


def test_there_are_benches() -> None:
    assert {"estimators", "webshop_index", "worlds"} <= set(BENCHES)


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module(f"scripts.bench.{name}", run_name="__main__")
    text = capsys.readouterr().out
    assert "--quick" in text
    assert f"python -m scripts.bench.{name}" in text


@pytest.mark.parametrize("name", [name for name in BENCHES if name not in (*STARTS_ENGINES, "worlds")])
def test_a_quick_bench_ends_with_a_line_of_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    runpy.run_module(f"scripts.bench.{name}", run_name="__main__")
    check_numbers(capsys.readouterr().out)


@pytest.mark.slow
def test_a_quick_bench_that_starts_ray_ends_with_a_line_of_json() -> None:
    command = [sys.executable, "-m", "scripts.bench.worlds", "--quick"]
    check_numbers(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
