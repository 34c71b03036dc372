"""The command in this process, in a folder of its own; plans are made, and what would run is recorded instead."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainer.commands import compose
from trainer.commands.main import main
from trainer.commands.table import COMMANDS, named

RUNS = {command.run for command in COMMANDS.values()}
JOIN = "trainer.lab.report.sweep:join"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
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
    """Calls `stepcredit WORDS`."""

    words: Callable[..., None]
    capsys: pytest.CaptureFixture[str]
    runs: list[tuple[str, Any]] = field(default_factory=list)
    """("module:function", config) of every command that would have run."""
    plans: list[Any] = field(default_factory=list)
    """The plans of those commands."""

    def __call__(self, *words: str) -> Ended:
        self.words("stepcredit", *words)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return Ended(code=code, out=out, err=err)

    def named(self, path: str) -> Callable[..., Any]:
        """As `table.named`, but what runs is recorded."""
        if path == JOIN:
            return lambda folder, _: self.runs.append((path, folder))
        if path not in RUNS:
            return named(path)

        def record(plan: Any, _: object) -> None:
            self.plans.append(plan)
            self.runs.append((path, plan.config))

        return record


@pytest.fixture
def stepcredit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stepcredit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `execute` sets it; here it is taken back
    command = Stepcredit(words=lambda *words: monkeypatch.setattr(sys, "argv", list(words)), capsys=capsys)
    monkeypatch.setattr(compose, "named", command.named)
    return command
