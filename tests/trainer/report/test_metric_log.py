"""The numbers of a run: each update once, written immediately, readable by the tools, only in the run's folder."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.config.settings import LogConfig
from trainer.report.metric_log import METRICS, MetricLog, read_metrics

FRESH = None
QUIET = LogConfig(tensorboard=False, wandb="disabled")


def log(output: Path, config: LogConfig = QUIET, *, resumed_at: int | None = FRESH) -> MetricLog:
    return MetricLog(output, config, settings={"seed": 0}, resumed_at=resumed_at, tracking=None)


def write(
    output: Path, *updates: int, value: float = 0.0, resumed_at: int | None = FRESH, config: LogConfig = QUIET
) -> None:
    started = log(output, config, resumed_at=resumed_at)
    for update in updates:
        started.write(update, {"learn/loss": value + update})
    started.close()


def rows(output: Path) -> list[tuple[float, float]]:
    return [(row["update"], row["learn/loss"]) for row in read_metrics(output)]


def curve(output: Path) -> list[tuple[int, float]]:
    """The curve as TensorBoard shows it."""
    board = EventAccumulator(str(output / "tensorboard"))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars("learn/loss")]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    started = log(tmp_path)
    started.write(0, {"validation/success": 0.125})
    started.write(1, {"learn/loss": -1e-9, "share/learn": 1 / 3})
    expected = [
        {"update": 0, "validation/success": 0.125},
        {"update": 1, "learn/loss": -1e-9, "share/learn": 1 / 3},
    ]
    assert read_metrics(tmp_path) == expected  # before close(): a killed run closes nothing


def test_a_resumed_run_writes_each_update_once(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3)
    write(tmp_path, 3, 4, value=0.5, resumed_at=2)
    assert rows(tmp_path) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]


def test_a_fresh_run_keeps_no_row_of_one_that_left_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    write(tmp_path, 0, value=0.5)
    assert rows(tmp_path) == [(0, 0.5)]


@pytest.mark.parametrize("written", [1, 10, 29])
def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path: Path, written: int) -> None:
    write(tmp_path, 0, 1)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"update": 2, "learn/loss": 2.0}'[:written])
    write(tmp_path, 2, resumed_at=1)
    assert rows(tmp_path) == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_tensorboard_reads_the_curve(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, config=LogConfig(tensorboard=True, wandb="disabled"))
    assert curve(tmp_path) == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_tensorboard_forgets_the_updates_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    board = LogConfig(tensorboard=True, wandb="disabled")
    write(tmp_path, 1, 2, 3, config=board)
    write(tmp_path, 3, 4, value=0.5, resumed_at=2, config=board)
    assert curve(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]


def test_a_log_without_tensorboard_and_wandb_writes_rows_only(tmp_path: Path) -> None:
    write(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]
    assert log(tmp_path).tracking is None


def test_wandb_without_a_login_stays_in_the_runs_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, home, working = (tmp_path / name for name in ("run", "home", "working"))
    for folder in (output, home, working):
        folder.mkdir()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(working)
    started = log(output, LogConfig(tensorboard=False, wandb="auto"))
    assert started.tracking
    started.write(1, {"learn/loss": 1.0})
    started.close()
    assert list(working.iterdir()) == []
    assert list((output / "wandb").glob(f"offline-run-*-{started.tracking}/run-{started.tracking}.wandb"))
