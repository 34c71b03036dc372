"""Runs an example as a reader would: by its path, from the repository's root."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example() -> Callable[..., list[str]]:
    """Runs examples/NAME with these words and returns the lines it prints; fails if it does."""

    def run(name: str, *words: str) -> list[str]:
        command = [sys.executable, str(ROOT / "examples" / name), *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    return run
