"""Imports flow one way, a heavy library is known to one file, and no file is too long to read."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "estimators", "rollout", "trainer", "scripts")
# scripts -> trainer -> rollout -> envs, trainer -> estimators; a room may also reach past its neighbour, never back.
MAY_IMPORT = {
    "envs": {"envs"},
    "estimators": {"estimators"},
    "rollout": {"rollout", "envs"},
    "trainer": {"trainer", "rollout", "envs", "estimators"},
    "scripts": {"scripts", "trainer", "rollout", "envs", "estimators"},
}
# The rooms inside trainer/, from the ground up: a room imports from itself and from those named; nothing points back.
INNER = {
    "config": set[str](),
    "durable": set[str](),
    "report": {"durable", "config"},
    "data": {"config"},
    "scorers": {"data"},
    "checksums": {"durable"},
    "checkpoint": {"checksums", "durable", "config"},
    "learner": {"checkpoint", "checksums", "durable", "data", "config"},
    "saver": {"checkpoint", "checksums", "durable", "learner"},
    "setup": {"checkpoint", "checksums", "durable", "learner", "scorers", "data", "report", "config"},
    "gather": {"setup", "data", "report"},
    "step": {"gather", "setup", "learner", "scorers", "data", "report", "config"},
    "evaluation": {"setup", "data", "report"},
    "metrics": {"step", "evaluation", "saver", "setup", "data"},
    "run": {
        *("step", "gather", "evaluation", "metrics", "saver", "setup", "checkpoint", "durable"),
        *("learner", "data", "report", "config"),
    },
    "lab": {"setup", "checkpoint", "durable", "learner", "scorers", "data", "report", "config"},
    "inspect": {"lab", "setup", "checkpoint", "durable", "data", "report", "config"},
    "cells": {"setup", "checkpoint", "durable", "report", "config"},
    "tables": {"cells", "setup", "checkpoint", "durable", "report", "config"},
    "commands": {
        "tables",
        "cells",
        "durable",
        "inspect",
        "lab",
        "run",
        "step",
        "gather",
        "saver",
        "evaluation",
        "metrics",
        "setup",
        "learner",
        "data",
        "report",
        "config",
    },
}
# The same inside trainer/lab/.
INNER_LAB = {
    "worlds": set[str](),
    "measure": {"worlds"},
    "config": {"measure", "worlds"},
    "entries": {"worlds"},
    "plan": {"measure", "config", "entries", "worlds"},
    "report": {"measure"},
    "learn": {"report", "plan", "entries", "measure", "worlds"},
    "run": {"report", "measure", "plan"},
}
# library -> the places that know it: a file or a folder.
KNOWN_TO = {
    "ray": ("rollout/ray_actors.py", "rollout/ray_cluster.py"),
    "vllm": ("rollout/vllm_engine.py",),
    "openai": ("rollout/openai_endpoint.py",),
    "deepspeed": ("trainer/learner/deepspeed_rank.py",),
    "peft": ("trainer/learner/adapter.py",),
    "submitit": ("trainer/cells/slurm_site.py",),
    "optuna": ("trainer/cells/search.py",),
    "wandb": ("trainer/report/wandb_run.py",),
    "gymnasium": ("envs/gym.py",),
    "textworld": ("envs/alfworld/oracle.py",),
    "alfworld": ("envs/alfworld/oracle.py",),
    "regex": ("envs/webshop/analyzer.py",),
    "rapidfuzz": ("envs/webshop/reward.py", "rollout/revise.py", "trainer/data/similar.py"),
    "math_verify": ("envs/arithmetic/judge.py",),
    "reasoning_gym": ("envs/reasoning/generator.py",),
    "zstandard": ("rollout/record.py",),
    "hydra": ("trainer/commands",),
    "omegaconf": ("trainer/commands",),
    "transformers": ("trainer",),
    "torch": (
        *("trainer", "rollout/vllm_engine.py", "rollout/buckets.py"),
        *("scripts/bench/hidden.py", "scripts/bench/logprob.py"),
    ),
    "safetensors": ("trainer", "rollout/vllm_engine.py"),
}
# All that these rooms may have besides the standard library and themselves.
DIET = {
    "envs": {
        "numpy",
        "scipy",
        "gymnasium",
        "regex",
        "rapidfuzz",
        "textworld",
        "alfworld",
        "math_verify",
        "reasoning_gym",
    },
    "estimators": {"numpy", "scipy", "annotated_types"},
}
LONGEST_FILE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """`import name...` in `file`, a path from the repository's root; nested: inside a function.

    inner: the second part of what is imported, "lab" for `from trainer.lab.worlds.maze import maze`; third: "worlds".
    """

    file: str
    line: int
    name: str
    inner: str
    third: str
    nested: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"

    @property
    def room(self) -> str:
        return self.file.partition("/")[0]


def plain(distribution: str) -> str:
    """A distribution's name in the one spelling that counts."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def python_files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def is_in(file: str, place: str) -> bool:
    """Whether `file` is `place`, or lies in it."""
    return file == place or file.startswith(f"{place}/")


def room_inside(file: str) -> str:
    """The inner room of a file of trainer/: a folder, or one of the files on its front page."""
    return file.split("/")[1].removesuffix(".py")


def imports_of(path: Path, root: Path = ROOT) -> Iterator[Import]:
    """Every import statement of a file, also those under TYPE_CHECKING and inside functions."""
    file = path.relative_to(root).as_posix()

    def walk(node: ast.AST, nested: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = file.partition("/")[0] if node.level else node.module or ""
            names = [module] if "." in module or node.level else [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            outer, inner, third = [*name.split("."), "", ""][:3]
            line = node.lineno  # pyright: ignore
            yield Import(file=file, line=line, name=outer, inner=inner, third=third, nested=nested)
        inside = nested or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(ast.parse(path.read_text()), False)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [found for path in python_files() for found in imports_of(path)]


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    source = tmp_path / "envs" / "world.py"
    source.write_text(
        "import ray.actor, os\n"
        "from rollout.types import Step\n"
        "from . import base\n"
        "if TYPE_CHECKING:\n"
        "    import torch\n"
        "class World:\n"
        "    async def step(self):\n"
        "        from vllm import LLM\n"
    )
    assert [(found.line, found.name, found.nested) for found in imports_of(source, tmp_path)] == [
        (1, "ray", False),
        (1, "os", False),
        (2, "rollout", False),
        (3, "envs", False),
        (5, "torch", False),
        (8, "vllm", True),
    ]


def test_imports_between_rooms_follow_the_arrows(imports: list[Import]) -> None:
    wrong = [found for found in imports if found.name in ROOMS and found.name not in MAY_IMPORT[found.room]]
    assert [str(found) for found in wrong] == []


def test_imports_between_the_rooms_inside_trainer_follow_the_arrows(imports: list[Import]) -> None:
    inside = [found for found in imports if found.room == found.name == "trainer"]
    strays = {found.inner for found in inside} | {room_inside(found.file) for found in inside}
    assert strays - INNER.keys() == set(), "name a new room in INNER, with what it may import"
    wrong = [found for found in inside if found.inner not in INNER[room_inside(found.file)] | {room_inside(found.file)}]
    assert [str(found) for found in wrong] == []


def test_imports_between_the_rooms_inside_the_lab_follow_the_arrows(imports: list[Import]) -> None:
    inside = [found for found in imports if found.file.startswith("trainer/lab/") and found.inner == "lab"]
    room_of = {found.file: found.file.split("/")[2].removesuffix(".py") for found in inside}
    strays = {found.third for found in inside} | set(room_of.values())
    assert strays - INNER_LAB.keys() == set(), "name a new room in INNER_LAB, with what it may import"
    wrong = [found for found in inside if found.third not in INNER_LAB[room_of[found.file]] | {room_of[found.file]}]
    assert [str(found) for found in wrong] == []


@pytest.mark.parametrize("arrows", [INNER, INNER_LAB], ids=["trainer", "lab"])
def test_the_inner_arrows_have_no_circle(arrows: dict[str, set[str]]) -> None:
    rooms = list(arrows)
    assert [room for place, room in enumerate(rooms) if not arrows[room] <= set(rooms[:place])] == []


@pytest.mark.parametrize("library", KNOWN_TO)
def test_a_library_is_known_where_it_belongs_and_nowhere_else(imports: list[Import], library: str) -> None:
    using = [found for found in imports if found.name == library]
    strays = [found for found in using if not any(is_in(found.file, place) for place in KNOWN_TO[library])]
    assert [str(found) for found in strays] == []
    assert using, f"nobody imports {library}: take it out of KNOWN_TO and of the dependencies"


@pytest.mark.parametrize("room", DIET)
def test_a_light_room_lives_on_the_standard_library_and_what_it_is_granted(imports: list[Import], room: str) -> None:
    granted = {room, *DIET[room], *sys.stdlib_module_names}
    assert [str(found) for found in imports if found.room == room and found.name not in granted] == []


def test_a_room_imports_only_what_is_declared_outside_the_extra_of_developers(imports: list[Import]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra != "dev"]
    declared = {plain(re.split(r"[=<> ]", line)[0]) for lines in (project["dependencies"], *extras) for line in lines}
    owners = importlib.metadata.packages_distributions()
    known = {*ROOMS, *sys.stdlib_module_names, *(path.stem for path in (ROOT / "scripts").rglob("*.py"))}
    strays = {
        str(found)
        for found in imports
        if found.name not in known and declared.isdisjoint(map(plain, owners.get(found.name, [found.name])))
    }
    assert strays == set()


def test_no_import_hides_inside_a_function(imports: list[Import]) -> None:
    assert [str(found) for found in imports if found.nested] == []


def test_no_other_installed_distribution_owns_a_rooms_name() -> None:
    owners = importlib.metadata.packages_distributions()
    packages = [*(room for room in ROOMS if room != "scripts"), "configs"]  # scripts/ is not installed
    assert {room: set(owners.get(room, ())) for room in packages} == {room: {"stepcredit"} for room in packages}


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in python_files()}
    assert {file: length for file, length in lengths.items() if length >= LONGEST_FILE} == {}


def test_scripts_is_no_package_and_hides_no_room() -> None:
    python = {path.relative_to(ROOT / "scripts").as_posix() for path in (ROOT / "scripts").rglob("*.py")}
    assert {path for path in python if path.endswith("__init__.py")} == set()
    # Run by its path, such a file would be imported in the place of the room.
    rooms = {f"{folder}{room}.py" for room in ROOMS for folder in ("", "bench/")}
    assert rooms & python == {"bench/estimators.py", "bench/rollout.py"}, "which are run with -m alone"


def test_only_the_command_edits_the_path_that_imports_are_found_on() -> None:
    edits = re.compile(r"sys\.path(\.(append|extend|insert)|\[.*\] =| \+?=)|runpy")
    editing = [path.relative_to(ROOT).as_posix() for path in python_files() if edits.search(path.read_text())]
    assert editing == ["trainer/commands/main.py"], "a user's modules in the working folder"
