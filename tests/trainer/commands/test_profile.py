"""`stepcredit profile` traces one update; here on fakes, in tests/trainer/real on the real stack."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.commands.conftest import Stepcredit, refused
from tests.trainer.run_stack import Stack, configured
from tests.trainer.test_ahead import one_ahead
from trainer.commands import profile as command
from trainer.commands.profile import shift_ns, table_of, traced_update
from trainer.config.commands import TrainConfig
from trainer.gather import Ahead
from trainer.report.progress import Display
from trainer.report.trace import parts_of
from trainer.setup.preflight import plan_training

LAPS = ["collect", "score", "credit", "learn", "publish"]


@dataclass
class FakeActor:
    """Has a clock that is so many nanoseconds ahead, and did nothing."""

    name: str
    ahead_ns: int = 0
    calls: list[str] = field(default_factory=list)

    def call(self, method: str) -> Any:
        self.calls.append(method)
        return command.time.time_ns() + self.ahead_ns if method == "start_spans" else []


def traced(
    tmp_path: Path, actors: Sequence[FakeActor], monkeypatch: pytest.MonkeyPatch, config: TrainConfig | None = None
) -> tuple[Stack, list[Any]]:
    stack, plan = Stack(), plan_training(config or configured(tmp_path))
    monkeypatch.setattr(command, "_actors", lambda _: [("engine", actor) for actor in actors])
    parts = stack.parts(plan.config, plan.world)
    with closing(Ahead()) as ahead:
        playing = ahead if plan.config.ahead else None
        return stack, traced_update(parts, plan, Display(Console(quiet=True)), warm=2, ahead=playing)


def test_the_last_of_three_updates_is_traced_and_its_laps_cover_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeActor("engine 0")
    stack, (driver, _) = traced(tmp_path, [engine], monkeypatch)
    assert [event for event in stack.events if event.startswith("publish")] == ["publish 1", "publish 2", "publish 3"]
    assert engine.calls == ["start_spans", "take_spans"]
    update, *laps = sorted(driver.spans, key=lambda one: (one.start_ns, -one.end_ns))
    assert (update.name, [lap.name for lap in laps]) == ("update", LAPS)
    assert all(update.start_ns <= lap.start_ns <= lap.end_ns <= update.end_ns for lap in laps)
    assert len({span.flow for span in driver.spans}) == 1
    assert [part.name for part in parts_of([driver], update, laps)] == [*LAPS, "between", "the update"]


def test_the_table_has_80_columns_and_a_row_for_each_lap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tracks = traced(tmp_path, [FakeActor("engine 0")], monkeypatch)
    console = Console(file=StringIO(), width=80)
    console.print(table_of(tracks))
    text = console.file.getvalue()  # pyright: ignore
    assert [lap for lap in LAPS if lap in text] == LAPS
    assert "engines idle" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_profile_of_a_run_that_plays_ahead_shows_the_wait_for_the_next_rollouts_in_place_of_their_lap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (driver, _) = traced(tmp_path, [FakeActor("engine 0")], monkeypatch, one_ahead(tmp_path))
    names = {span.name for span in driver.spans}
    assert names == {"update", "wait", *LAPS} - {"collect"}


@pytest.mark.parametrize(("ahead_s", "moved_s"), [(0, 0), (3600, -3600), (-3600, 3600)])
def test_a_clock_is_moved_only_where_it_differs_by_more_than_the_ping(ahead_s: int, moved_s: int) -> None:
    assert round(shift_ns(FakeActor("engine 0", ahead_ns=ahead_s * 10**9)) / 1e9) == moved_s


def test_a_profile_is_refused_a_run_to_go_on_with(stepcredit: Stepcredit) -> None:
    assert "resume='auto' with a profile" in refused(stepcredit, "profile", "experiment=tiny", "resume=auto")


def test_a_profile_asks_its_engines_for_the_times_of_requests_and_a_run_does_not(stepcredit: Stepcredit) -> None:
    for word in ("profile", "train"):
        assert stepcredit(word, "experiment=tiny").code == 0
    (_, profiled), (_, trained) = stepcredit.runs
    assert (profiled.engine.request_times, trained.engine.request_times) == (True, False)
    assert profiled.warm_updates == 1
