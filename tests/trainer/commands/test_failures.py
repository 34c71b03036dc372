"""A command that fails on the way ends with one line, its code, and how to go on."""

from pathlib import Path

import pytest

from rollout.collect import RolloutsFailed
from rollout.held import StartFailed
from rollout.ray_actors import ActorDied, ActorTimeout
from rollout.ray_cluster import RayFailed
from rollout.weights import PublishError
from tests.trainer.commands.conftest import SOUND, Stepcredit
from trainer.commands import compose
from trainer.commands.table import named
from trainer.config.build import ModelError
from trainer.learner.first_ratio import RatioNotOne

pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RolloutsFailed("5 of 8:\n timeout 5"), 1),
        (RatioNotOne("5 of 8:\n timeout 5"), 1),
        (ModelError("5 of 8:\n timeout 5"), 2),  # such as what a rank finds out about the model
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_run_that_fails_or_is_refused_late_ends_with_one_line(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train")
    going_on = "; it has no checkpoint yet: start it again" if code == 1 else ""
    assert (ended.code, ended.line) == (code, f"stepcredit: 5 of 8: timeout 5{going_on}")


@pytest.mark.parametrize(
    "error",
    [
        ActorDied("engine 0 died during complete; its log is /tmp/log"),
        ActorTimeout("no answer of engine 0 within 3 s"),
        PublishError("publish of version 3: no room"),
        FloatingPointError("gradient norm nan"),
        RayFailed("Ray did not start on this machine"),
    ],
)
def test_what_breaks_on_the_way_is_one_line_with_how_to_go_on(
    stepcredit: Stepcredit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        (tmp_path / "run" / "checkpoints" / "latest").write_text("update-000002")
        raise error

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train", f"output={tmp_path}/run")
    going_on = f"go on after update-000002 with the same command and resume=auto output={tmp_path}/run"
    assert (ended.code, ended.line) == (1, f"stepcredit: {error}; {going_on}")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "run/metrics.jsonl"), "run/metrics.jsonl: Permission denied"),
        (OSError(28, "No space left on device"), "a file of the run: No space left on device"),
    ],
)
def test_a_file_of_the_run_that_cannot_be_written_is_one_line_with_how_to_go_on(
    stepcredit: Stepcredit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["evaluate"][0] else named(path))
    ended = stepcredit("evaluate", f"output={tmp_path}/out", "endpoint=http://localhost:1/v1")
    going_on = f"go on with the same command and resume=auto output={tmp_path}/out"
    assert (ended.code, ended.line) == (1, f"stepcredit: {line}; {going_on}")


def test_an_error_of_the_machine_that_is_about_no_file_keeps_its_traceback(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    with pytest.raises(ConnectionResetError):
        stepcredit("train")


@pytest.mark.parametrize(
    ("kinds", "code", "line"),
    [
        (("trainer.config.build.ModelError", "builtins.ValueError"), 2, "stepcredit: the head has a bias"),
        (("envs.base.EnvError", "builtins.ValueError"), 2, "stepcredit: the head has a bias"),
        (
            ("torch.OutOfMemoryError", "builtins.RuntimeError"),
            1,
            "stepcredit: engine 0 did not start: OutOfMemoryError: the head has a bias; its log is /tmp/log",
        ),
    ],
)
def test_a_part_that_does_not_start_is_a_refusal_if_it_refused(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], code: int, line: str
) -> None:
    def fail(*_: object) -> None:
        raise StartFailed("engine 0", kinds, "the head has a bias", "/tmp/log")

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train")
    assert (ended.code, ended.line) == (code, line)
