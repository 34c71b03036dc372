"""learner.compile=layers is refused where torch would find no compiler after the models have loaded."""

import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.setup.test_packing import named
from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ClusterConfig
from trainer.setup.learnable import check_learnable

COMPILED, HERE = LearnerConfig(compile="layers"), ClusterConfig()


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without programs, but with Python's headers."""
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()


def program(folder: Path, name: str) -> None:
    (folder / name).touch(mode=0o755)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (COMPILED, r"no compiler \(g\+\+\): install one, name it with CXX="),
        (replace(COMPILED, device="cuda", dtype="bfloat16"), r"no compiler \(gcc or clang\).*CC="),
    ],
)
def test_a_machine_without_a_compiler_is_told(config: LearnerConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"learner\.compile='layers', but .*{words}.*learner\.compile=none"):
        check_learnable(config, named("tiny"), HERE)


def test_a_compiler_is_taken_by_its_own_name_or_by_a_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "g++")
    check_learnable(COMPILED, named("tiny"), HERE)
    monkeypatch.setenv("CXX", "mine")
    with pytest.raises(ConfigError, match=r"no compiler \(mine\)"):
        check_learnable(COMPILED, named("tiny"), HERE)
    program(tmp_path, "mine")
    check_learnable(COMPILED, named("tiny"), HERE)


def test_missing_headers_are_named(tmp_path: Path) -> None:
    program(tmp_path, "g++")
    (tmp_path / "Python.h").unlink()
    with pytest.raises(ConfigError, match=r"no .*Python\.h: install Python's headers"):
        check_learnable(COMPILED, named("tiny"), HERE)


def test_a_compiler_is_not_asked_for_where_nothing_is_compiled_or_another_node_compiles() -> None:
    check_learnable(LearnerConfig(), named("tiny"), HERE)
    check_learnable(COMPILED, named("tiny"), ClusterConfig(address="somewhere:6379"))
