"""Every command line that a page shows is one that stepcredit composes; experiments are of their time."""

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from trainer.commands.main import main

ROOT = Path(__file__).parents[2]
OF_THEIR_TIME = ("docs/experiments/", "docs/adr/")
PAGES = [
    page
    for page in ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
    if not page.startswith(OF_THEIR_TIME)
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`stepcredit WORDS` as a page shows it."""

    page: str
    folder: str
    """Where the page says to run it, from the root."""
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands(page: str, text: str) -> Iterator[Command]:
    """The stepcredit commands in the blocks of a page; a `cd` counts until the end of its block."""
    for language, block in BLOCK.findall(text):
        if language:
            continue
        folder = "examples/my_world" if page.endswith("world.md") else "."
        folder = "examples/my_estimator" if page.endswith("estimator.md") else folder
        for line in block.replace("\\\n", "").splitlines():
            if not line.startswith(("stepcredit ", "cd ", "PYTHONPATH=. ")):
                continue
            words = shlex.split(line, comments=True)
            words = words[1:] if words[:1] == ["PYTHONPATH=."] else words
            words = words[: words.index(">")] if ">" in words else words
            if words[:1] == ["cd"]:
                folder = words[1]
            elif words[:1] == ["stepcredit"] and not {"--help", "--multirun", "--cfg"} & set(words):
                yield Command(page=page, folder=folder, words=tuple(words[1:]))


SHOWN = [command for page in PAGES for command in commands(page, (ROOT / page).read_text())]


def test_a_command_is_read_with_its_folder_its_continuation_and_without_its_comment() -> None:
    text = "```\ncd examples\nPYTHONPATH=. stepcredit train a=1 \\\n  b=2  # more\n```\n```python\nstepcredit no\n```\n"
    (command,) = commands("page.md", text)
    assert (command.folder, command.words) == ("examples", ("train", "a=1", "b=2"))


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 60


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_command_that_a_page_shows_composes(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT / command.folder)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(sys, "argv", ["stepcredit", *command.words, "--cfg", "job"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; here it is taken back
    main()
    composed, errors = capsys.readouterr()
    assert yaml.safe_load(composed)
    assert errors == ""
