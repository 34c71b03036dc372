"""The wheel in an environment of its own: the commands do from any folder what they do in the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PACKAGES = ("configs", "envs", "estimators", "rollout", "trainer")
KINDS = {".py", ".yaml", ".json", ".pddl", ".twl2", ".j2", ".css", ".js"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An environment that holds the wheel, and the locked packages of the checkout's environment."""

    bin: Path
    """Its programs."""

    packages: Path
    """Where the wheel's files lie."""

    home: Path
    """The home of the user who runs the commands."""

    def __call__(self, folder: Path, *words: str) -> str:
        """Standard output of `stepcredit WORDS` in `folder`."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        command = [self.bin / "stepcredit", *words]
        return subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout

    def files(self) -> set[Path]:
        """Everything beside the packages, but compiled modules."""
        return {path for path in self.packages.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build in the checkout takes along what an older build left there."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target, source]
    subprocess.run(build, check=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel]
    subprocess.run(install, check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    # A folder named by a .pth file has its own .pth files passed over: the checkout's editable install among them.
    (packages / "locked.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "home").mkdir()
    return Installed(bin=python.parent, packages=packages, home=folder / "home")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder outside of the repository."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in KINDS)
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == expected


def test_the_installed_package_is_the_wheels(installed: Installed, here: Path) -> None:
    find = "import trainer, envs, configs; print(trainer.__path__[0], envs.__path__[0], *configs.__path__)"
    found = subprocess.run([installed.bin / "python", "-c", find], cwd=here, stdout=subprocess.PIPE, text=True)
    assert found.stdout.split() == [str(installed.packages / name) for name in ("trainer", "envs", "configs")]


def test_help_and_composition_are_those_of_the_checkout(installed: Installed, here: Path) -> None:
    checkout = Path(sys.executable).parent / "stepcredit"
    for words in (("--help",), ("train", "--help"), ("train", "--cfg", "job"), ("quickstart", "--cfg", "job")):
        expected = subprocess.run([checkout, *words], cwd=here, stdout=subprocess.PIPE, text=True, check=True).stdout
        assert installed(here, *words) == expected
    assert list(here.iterdir()) == []


def test_outputs_lie_in_the_working_folder_and_nothing_beside_the_package(installed: Installed, here: Path) -> None:
    before = installed.files()
    installed(here, "demos", "tasks=3")
    installed(here, "demos", "tasks=3", "env=arithmetic", "output=sums.jsonl")
    installed(here, "lab", "estimators=[grpo]", "truth.sizes=[2]", "truth.rollouts=64", "truth.crafting=null")
    assert len((here / "outputs" / "demos" / "textcraft.jsonl").read_text().splitlines()) == 3
    assert len((here / "sums.jsonl").read_text().splitlines()) == 3
    assert [path.name for path in here.glob("outputs/lab/*/lab.html")] == ["lab.html"]
    assert {path.name for path in here.iterdir()} == {"outputs", "sums.jsonl"}
    assert installed.files() == before


def test_a_users_own_configs_are_found(installed: Installed, here: Path) -> None:
    for folder, gamma in (("configs", 0.5), ("elsewhere", 0.25)):
        (here / folder / "estimator").mkdir(parents=True)
        (here / folder / "estimator" / f"in_{folder}.yaml").write_text(f"name: gigpo\ngamma: {gamma}\n")
    words = ("train", "--cfg", "job", "--config-dir", "elsewhere")
    for folder, gamma in (("configs", 0.5), ("elsewhere", 0.25)):
        composed = yaml.safe_load(installed(here, *words, f"estimator=in_{folder}"))
        assert composed["estimator"] == {"name": "gigpo", "gamma": gamma}
    assert "in_configs" in installed(here, "train", "--help")
