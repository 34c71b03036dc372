"""The folders where worlds store what they build."""

from pathlib import Path

import pytest

from envs import EnvError, make
from envs.cache import cache_folder


def test_the_folder_is_the_first_that_somebody_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("STEPCREDIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert cache_folder("webshop") == tmp_path / "home" / ".cache" / "stepcredit" / "webshop"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("webshop") == tmp_path / "xdg" / "stepcredit" / "webshop"
    monkeypatch.setenv("STEPCREDIT_CACHE", "~/own")
    assert cache_folder("alfworld") == tmp_path / "home" / "own" / "alfworld"
    assert cache_folder("alfworld", tmp_path / "chosen") == tmp_path / "chosen" / "alfworld"


def test_a_cache_that_cannot_be_made_is_refused_with_the_variable_that_moves_it() -> None:
    with pytest.raises(EnvError, match="set STEPCREDIT_CACHE"):
        make("webshop", cache="/dev/null")
