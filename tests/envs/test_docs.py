"""The worked example of docs/guides/world.md is a world that keeps the contract; every world has its page."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs import WORLDS, Ending, Env, EnvError, find, make
from envs.prompts import Reply

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "guides" / "world.md"
TABLE = DOCS / "worlds" / "index.md"


def python_of(page: Path, section: str) -> str:
    """The first code in a section of a page."""
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text().partition(f"## {section}\n")[2], re.DOTALL)[:1]
    return code


@pytest.fixture
def corridor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Env]:
    """The example as a module in the working folder, loaded by its target."""
    code = python_of(GUIDE, "A whole world")
    assert len(code.splitlines()) < 100
    (tmp_path / "corridor.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield make("corridor:WORLD")
    del sys.modules["corridor"]


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_has_its_row_and_its_page(world: str) -> None:
    assert TABLE.read_text().count(f"\n| [`{world}`]({world}.md) |") == 1
    assert re.match(rf"# {world.replace('_', ' ')} ", (TABLE.parent / f"{world}.md").read_text(), re.IGNORECASE)


def test_the_lines_for_gymnasium_run() -> None:
    names: dict[str, Any] = {"__name__": "gymnasium_example"}
    exec(compile(python_of(TABLE, "Gymnasium"), str(TABLE), "exec"), names)
    assert names["observation"] == "Got 5 copper"
    assert all("look" in listed for listed in names["infos"]["admissible"])
    assert len(names["observations"]) == 8


def test_its_expert_wins_every_task_and_a_snapshot_goes_on(corridor: Env) -> None:
    assert isinstance(corridor, Env)
    train, test = corridor.tasks("train"), corridor.tasks("test")
    assert len(train) == len(test) == 6
    assert not set(train) & set(test)
    for task in [*train, *test]:
        assert corridor.reset(task) == corridor.reset(task, seed=9)
        saved = corridor.snapshot()
        ends = []
        for _ in range(2):
            corridor.restore(saved)
            ends.append([corridor.step(action) for action in corridor.expert()])
        assert ends[0] == ends[1]
        assert ends[0][-1].won
        with pytest.raises(EnvError, match="ended"):
            corridor.step("left")


def test_it_can_be_lost_and_it_has_prompts(corridor: Env) -> None:
    first = corridor.reset("door-0")
    assert find("corridor:WORLD").prompter("bare").parse("left", first) == Reply(action="left", valid=True)
    assert not find("corridor:WORLD").prompter("bare").parse("fly", first).valid
    assert corridor.step("fly").ending is None
    assert corridor.step("open").ending is Ending.FAILURE
