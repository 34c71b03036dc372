"""Worlds outside this repository: loaded by target and by entry point, and refused in one line when broken."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

import envs.gym
from envs import WORLDS, EnvError, WorldSpec, find, make

MODULE = """
from envs import WorldSpec
from envs.prompts import Dialect
from tests.fakes import Corridor

def corridor(*, length: int = 1) -> Corridor:
    world = Corridor()
    world.LIMIT = length
    return world

WORLD = WorldSpec(name="mine", make=corridor, dialect=Dialect(introduction="Walk.", grammar=bool))
ANY = WorldSpec(name="any", make=lambda **options: corridor(**options), dialect=WORLD.dialect)
OTHER = corridor
"""
MODULES = ("my_world", "my_broken_world")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a user's modules; the command searches it last."""
    (tmp_path / "my_world.py").write_text(MODULE)
    (tmp_path / "my_broken_world.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "my_garbled_world.py").write_text("def (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.fixture
def declare(folder: Path) -> Callable[[str], None]:
    """Installs a package into the folder that declares one world of a given entry point, as pip would."""

    def write(value: str) -> None:
        info = folder / "my_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[stepcredit.worlds]\nmine = {value}\n")

    return write


@pytest.mark.parametrize("target", ["my_world:WORLD", "my_world.WORLD"])
def test_a_target_in_the_working_folder_is_a_world_with_its_options(folder: Path, target: str) -> None:
    assert find(target).name == "mine"
    env = make(target, length=2)
    env.reset("5")
    assert [env.step("go").ending for _ in range(2)] == [None, "limit"]
    with pytest.raises(EnvError, match=r"^mine has no option 'lenght'; did you mean 'length'\?$"):
        make(target, lenght=2)


def test_a_maker_may_take_any_option(folder: Path) -> None:
    env = make("my_world:ANY", length=1)
    env.reset("5")
    assert env.step("go").ending == "limit"


def test_an_entry_point_is_a_world_by_its_name(declare: Callable[[str], None]) -> None:
    with pytest.raises(EnvError, match="there is no world 'mine'"):
        find("mine")
    declare("my_world:WORLD")
    assert isinstance(find("mine"), WorldSpec)
    with pytest.raises(EnvError, match=r"^there is no world 'min'; did you mean 'mine'\?$"):
        find("min")


def test_a_world_of_this_repository_is_not_replaced_by_an_entry_point(declare: Callable[[str], None]) -> None:
    declare("my_world:WORLD")
    assert find("textcraft") is WORLDS["textcraft"]


def test_an_own_world_is_played_through_gymnasium(folder: Path) -> None:
    env = gymnasium.make(f"envs.gym:{envs.gym.ANY_WORLD}", world="my_world:WORLD", length=6)
    observation, _ = env.reset(seed=0, options={"task_id": "2"})
    assert observation.endswith("of length 2")
    assert [env.step("go")[2] for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("my_wrld:WORLD", "ModuleNotFoundError: No module named 'my_wrld'"),
        ("my_world:WRLD", "AttributeError: module 'my_world' has no attribute 'WRLD'"),
        ("my_broken_world:WORLD", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("my_garbled_world:WORLD", "SyntaxError: "),
        (":WORLD", "ValueError: Empty module name"),
    ],
)
def test_a_target_that_cannot_be_loaded_is_refused_in_one_line(folder: Path, target: str, reason: str) -> None:
    with pytest.raises(EnvError) as refusal:
        find(target)
    message = str(refusal.value)
    assert f"the world {target!r} cannot be loaded ({reason}" in message
    assert message.endswith(
        "give package.module:SPEC of a WorldSpec in a module of the working folder or on PYTHONPATH"
    )
    assert "\n" not in message


def test_a_target_that_is_no_spec_is_refused_with_how_to_write_one(folder: Path) -> None:
    with pytest.raises(EnvError, match=r"'my_world:OTHER' is <function corridor at .*not a WorldSpec: export WORLD = "):
        find("my_world:OTHER")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("my_wrld:WORLD", r"entry point 'my_wrld:WORLD', which cannot be loaded \(ModuleNotFoundError: .*reinstall"),
        ("my_world:OTHER", r"entry point 'my_world:OTHER', is <function .*not a WorldSpec"),
    ],
)
def test_a_broken_entry_point_is_refused_in_one_line(declare: Callable[[str], None], value: str, message: str) -> None:
    declare(value)
    with pytest.raises(EnvError, match=message):
        find("mine")
