"""The command in this process, in a folder of its own; what a door would run is recorded and not run."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainer.commands.main import DOORS, main
from trainer.lab.plan import LabPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass(slots=True, kw_only=True)
class Stepcredit:
    """Calls `stepcredit WORDS`. runs: ("module:function", config) of every door that opened."""

    words: Callable[..., None]
    capsys: pytest.CaptureFixture[str]
    runs: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, *words: str) -> Told:
        self.words("stepcredit", *words)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return Told(code=code, out=out, err=err)


def config_of(given: Any) -> Any:
    """The config that a command got, or that its plan holds."""
    return given.config if isinstance(given, LabPlan) else given


@pytest.fixture
def stepcredit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stepcredit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(DOORS))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as the door sets it; here it is taken back
    command = Stepcredit(words=lambda *words: monkeypatch.setattr(sys, "argv", list(words)), capsys=capsys)
    door = importlib.import_module("door")
    monkeypatch.setattr(
        door, "function_named", lambda run: lambda given, _: command.runs.append((run, config_of(given)))
    )
    return command
