"""The numbers of a run: each update once, written immediately, readable by the tools, only in the run's folder."""

import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.errors import AuthenticationError, CommError
from wandb.proto.wandb_internal_pb2 import Record

from trainer.config.build import ConfigError
from trainer.config.settings import LogConfig
from trainer.report.metric_log import MetricLog
from trainer.report.metric_rows import METRICS, read_metrics
from trainer.report.shown import COLUMNS, Shown

FRESH = None
QUIET = LogConfig(tensorboard=False, wandb="disabled")


def log(
    output: Path, config: LogConfig = QUIET, *, resumed_at: int | None = FRESH, tracking: str | None = None
) -> MetricLog:
    return MetricLog(output, config, settings={"seed": 0}, resumed_at=resumed_at, tracking=tracking)


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


ROLLOUTS = [
    Shown(
        task="depth2/7",
        goal="craft 1 stick | or more\nnow",
        turns=2,
        actions="1. get 1 log\n2. fly (invalid)",
        ending="limit",
        success=False,
        score=0.5,
    )
]


def test_tensorboard_shows_rollouts_of_a_validation_as_text(tmp_path: Path) -> None:
    started = log(tmp_path, LogConfig(tensorboard=True, wandb="disabled"))
    started.show(5, ROLLOUTS)
    started.show(6, [])
    started.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    (event,) = board.Tensors("validation/trajectories/text_summary")
    assert event.step == 5
    assert event.tensor_proto.string_val[0].decode().splitlines() == [
        "| task | goal | turns | actions | ending | success | score |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| depth2/7 | craft 1 stick \\| or more<br>now | 2 | 1. get 1 log<br>2. fly (invalid) | limit | False | 0.5 |",
    ]


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


# --- wandb after a resume -----------------------------------------------------------------------------------------

OFFLINE = LogConfig(tensorboard=False, wandb="offline", group="mine", tags=("tiny", "seed=0"))


def records(file: Path) -> Iterator[Record]:
    """What a .wandb file holds: LevelDB's log format after seven bytes; a record may go on in the next block."""
    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if place + 7 + length > len(data):
            return  # it is being written
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def finished(file: Path) -> list[Record]:
    """Its records once wandb's own process has written the last, which may be after the run was closed."""
    end = time.monotonic() + 60
    while not (kept := list(records(file))) or not kept[-1].HasField("exit"):
        assert time.monotonic() < end, f"{file} has no last record"
        time.sleep(0.05)
    return kept


def tracked(output: Path) -> dict[str, dict[str, Any]]:
    """Group, tags, first run, rows and wandb's own steps of every wandb run in the output folder, by its id."""
    runs: dict[str, dict[str, Any]] = {}
    for file in sorted(output.glob("wandb/offline-run-*/run-*.wandb")):
        kept = finished(file)
        (run,) = [record.run for record in kept if record.HasField("run")][:1]
        history = [
            {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for record in kept
            if record.HasField("history")
        ]
        runs[run.run_id] = {
            "group": run.run_group,
            "tags": list(run.tags),
            "first_run": next(json.loads(one.value_json) for one in run.config.update if one.key == "first_run"),
            "rows": [(row["update"], row["learn/loss"]) for row in history],
            "steps": [row["_step"] for row in history],
        }
    return runs


def test_a_resumed_run_loses_no_row_in_wandb(tmp_path: Path) -> None:
    first = log(tmp_path, OFFLINE)
    for update in (0, 1, 2, 3):
        first.write(update, {"learn/loss": float(update)})
    first.close()
    second = log(tmp_path, OFFLINE, resumed_at=2, tracking=first.tracking)
    for update in (3, 4):
        second.write(update, {"learn/loss": update + 0.5})
    second.close()
    assert second.tracking == first.tracking
    assert first.tracking is not None
    (own, resumed) = sorted(tracked(tmp_path).items(), key=lambda entry: entry[0] != first.tracking)
    same = {"group": "mine", "tags": ["tiny", "seed=0"], "first_run": first.tracking}
    assert own == (first.tracking, {**same, "rows": [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)], "steps": [0, 1, 2, 3]})
    assert resumed[1] == {**same, "rows": [(3, 3.5), (4, 4.5)], "steps": [0, 1]}
    assert first.continuation is None
    assert second.continuation == (
        f"wandb: run {resumed[0]} in group 'mine' has the updates after 2, as wandb goes on with no offline run; "
        f"first_run is {first.tracking} in the config of both"
    )


def test_a_fork_is_a_wandb_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[OnlineRun] = []
    monkeypatch.setattr(wandb, "init", started(runs))
    fork = log(tmp_path, LogConfig(tensorboard=False, wandb="online"), resumed_at=2, tracking=None)
    assert [(run.id, run.resume) for run in runs] == [(fork.tracking, None)]
    assert fork.continuation is None


def test_a_server_that_does_not_answer_makes_the_run_an_offline_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BASE_URL", "http://127.0.0.1:9"), ("API_KEY", "a" * 40), ("INIT_TIMEOUT", "1")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    started = log(tmp_path, LogConfig(tensorboard=False, wandb="auto"))
    started.write(1, {"learn/loss": 1.0})
    started.close()
    assert [note.partition(",")[0] for note in started.notes] == ["wandb: its server does not answer"]
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert any(record.HasField("history") for record in finished(file))
    with pytest.raises(CommError):
        log(tmp_path, LogConfig(tensorboard=False, wandb="online"))


def test_a_key_that_is_none_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def login(**_: Any) -> bool:
        raise AuthenticationError("API key must have 40 or more characters")

    monkeypatch.setattr(wandb, "login", login)
    with pytest.raises(ConfigError, match=r"log\.wandb='auto': API key must .*: mend the key, or set log\.wandb=disab"):
        log(tmp_path, LogConfig(tensorboard=False, wandb="auto"))


def test_wandbs_charts_are_drawn_over_the_updates(tmp_path: Path) -> None:
    started = log(tmp_path, OFFLINE)
    started.write(5, {"learn/loss": 1.0})
    started.close()
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    metrics = [record.metric for record in finished(file) if record.HasField("metric")]
    assert [metric.step_metric for metric in metrics if metric.glob_name == "*"] == ["update"]


def test_wandb_shows_rollouts_of_a_validation_as_a_table(tmp_path: Path) -> None:
    started = log(tmp_path, OFFLINE)
    started.show(5, ROLLOUTS)
    started.show(6, [])
    started.write(5, {"learn/loss": 1.0})
    started.close()
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    shown, numbers = [record.history for record in finished(file) if record.HasField("history")]
    assert {item.key or item.nested_key[0] for item in shown.item} >= {"update", "validation/trajectories"}
    assert "learn/loss" in {item.key or item.nested_key[0] for item in numbers.item}
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/validation/trajectories_*.table.json")
    assert json.loads(table.read_text()) == {
        "columns": ["update", "task", "goal", "turns", "actions", "ending", "success", "score"],
        "data": [[5, *(getattr(ROLLOUTS[0], name) for name in COLUMNS)]],
    }


@dataclass
class OnlineRun:
    """What `wandb.init` gives for an online run that went to step 7; wandb drops rows of an earlier step."""

    id: str
    group: str
    resume: str | None
    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        del name, step_metric

    def log(self, row: dict[str, float], step: int = 8) -> None:
        if step > 7:
            self.rows.append(row)

    def finish(self) -> None:
        pass


def started(runs: list[OnlineRun]) -> Callable[..., OnlineRun]:
    """A stand-in for `wandb.init` that keeps the runs it starts."""

    def init(*, id: str, group: str, resume: str | None, **_: Any) -> OnlineRun:
        runs.append(OnlineRun(id=id, group=group, resume=resume))
        return runs[-1]

    return init


def test_an_online_run_is_gone_on_with_and_keeps_the_rows_that_wandbs_step_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[OnlineRun] = []
    monkeypatch.setattr(wandb, "init", started(runs))
    resumed = log(tmp_path, LogConfig(tensorboard=False, wandb="online"), resumed_at=2, tracking="first")
    resumed.write(3, {"learn/loss": 0.5})
    assert [(run.id, run.resume, run.rows) for run in runs] == [
        ("first", "allow", [{"update": 3, "learn/loss": 0.5}]),
    ]
    assert resumed.tracking == "first"
    assert "run first goes on; updates after 2 that it already has stand there twice" in (resumed.continuation or "")


def test_a_run_that_was_tracked_offline_is_not_gone_on_with_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log(tmp_path, OFFLINE)
    first.close()
    monkeypatch.setattr(wandb, "init", started([]))
    online = LogConfig(tensorboard=False, wandb="online", group="mine")
    resumed = log(tmp_path, online, resumed_at=2, tracking=first.tracking)
    assert resumed.tracking == first.tracking
    assert "in group 'mine' has the updates after 2" in (resumed.continuation or "")
