"""Every command line that a page shows is one that stepcredit composes; experiments are of their time."""

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainer.commands.main import main

ROOT = Path(__file__).parents[2]
OF_THEIR_TIME = ("docs/experiments/", "docs/adr/")
PAGES = [
    page
    for page in ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
    if not page.startswith(OF_THEIR_TIME)
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`stepcredit ([^`]+)`")
FOR_YOURS = {"model=my_model": "model=tiny", "model=NAME": "model=tiny"}
"""What stands here for a model of the reader's own."""
NOT_COMPOSED = {"COMMAND", "sweep.resume=DIR", "--help", "--cfg"}
"""Words of commands that are read without composing them, or that compose themselves."""


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
    """The stepcredit commands of a page, in its blocks and its sentences; a `cd` counts until the end of its block."""
    home = "examples/my_world" if page.endswith("world.md") else "."
    home = "examples/my_estimator" if page.endswith("estimator.md") else home
    for words in map(str.split, INLINE.findall(BLOCK.sub("", text))):
        if not NOT_COMPOSED & set(words):
            folder = "examples/my_estimator" if "estimator=my_estimator" in words else home
            yield Command(page=page, folder=folder, words=tuple(FOR_YOURS.get(word, word) for word in words))
    for language, block in BLOCK.findall(text):
        if language:
            continue
        folder = home
        for line in block.replace("\\\n", "").splitlines():
            if not line.startswith(("stepcredit ", "cd ", "PYTHONPATH=. ")):
                continue
            words = shlex.split(line, comments=True)
            words = words[1:] if words[:1] == ["PYTHONPATH=."] else words
            words = words[: words.index(">")] if ">" in words else words
            if words[:1] == ["cd"]:
                folder = words[1]
            elif words[:1] == ["stepcredit"] and not NOT_COMPOSED & set(words):
                yield Command(page=page, folder=folder, words=tuple(_first_job(words[1:])))


def _first_job(words: list[str]) -> list[str]:
    """The words of the first job of a sweep; those of any other command as they are."""
    if "--multirun" not in words:
        return words
    words = [word for word in words if word != "--multirun"]
    parsed = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
    first = {
        one.input_line: f"{one.key_or_group}={next(one.sweep_string_iterator())}"
        for one in parsed
        if one.is_sweep_override()
    }
    return [first.get(word, word) for word in words]


SHOWN = [command for page in PAGES for command in commands(page, (ROOT / page).read_text())]


def test_a_command_is_read_with_its_folder_its_continuation_and_without_its_comment() -> None:
    text = "```\ncd examples\nPYTHONPATH=. stepcredit train a=1 \\\n  b=2  # more\n```\n```python\nstepcredit no\n```\n"
    (command,) = commands("page.md", text)
    assert (command.folder, command.words) == ("examples", ("train", "a=1", "b=2"))


def test_a_command_in_a_sentence_and_the_first_job_of_a_sweep_are_read() -> None:
    text = "Run `stepcredit lab\nRUN_DIR`.\n```\nstepcredit train --multirun a=1,2 b.c=range(3,5) d=[1,2]\n```\n"
    sentence, sweep = commands("page.md", text)
    assert sentence.words == ("lab", "RUN_DIR")
    assert sweep.words == ("train", "a=1", "b.c=3", "d=[1,2]")


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 120


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
