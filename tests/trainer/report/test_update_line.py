"""The console's line of an update, to the letter."""

import pytest

from trainer.report.update_line import UpdateLines

QUIET = {"rollout/engine_restarts": 0.0, "rollout/worker_restarts": 0.0}
SECONDS = {"collect": 5.5, "score": 1.0, "learn": 3.5}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_tells_success_with_its_mean_the_seconds_the_slowest_lap_and_the_time_left() -> None:
    clock = Clock()
    lines = UpdateLines(0, 150, clock)
    clock.now = 12.0
    (first,) = lines.lines(1, QUIET | {"rollout/success": 0.25}, SECONDS)
    clock.now = 20.0
    (second,) = lines.lines(2, QUIET | {"rollout/success": 0.5}, SECONDS)
    assert first == "update 1/150    success  25.0 %, mean  25  10.0 s (collect 55 %)  30 min left"
    assert second == "update 2/150    success  50.0 %, mean  38  10.0 s (collect 55 %)  25 min left"


def test_the_mean_is_of_the_last_ten_updates() -> None:
    lines = UpdateLines(0, 150, Clock())
    shown = [lines.lines(number, QUIET | {"rollout/success": float(number > 1)}, SECONDS)[0] for number in range(1, 12)]
    assert ["mean 100" in line for line in shown] == [False] * 10 + [True]


def test_a_run_that_goes_on_judges_the_time_left_by_its_own_updates() -> None:
    clock = Clock()
    lines = UpdateLines(90, 100, clock)
    clock.now = 10.0
    (line,) = lines.lines(91, QUIET | {"rollout/success": 0.0}, SECONDS)
    assert line.endswith("90 s left")


def test_the_last_update_has_no_time_left() -> None:
    (line,) = UpdateLines(0, 2, Clock()).lines(2, QUIET | {"rollout/success": 0.0}, SECONDS)
    assert line.endswith("10.0 s (collect 55 %)")


@pytest.mark.parametrize(("updates", "seconds"), [(150, 99.9), (1000, 99.9), (1000, 5000.0)])
def test_the_longest_line_has_80_columns(updates: int, seconds: float) -> None:
    clock = Clock()
    lines = UpdateLines(0, updates, clock)
    clock.now = 99 * 60.0
    (line,) = lines.lines(updates // 2, QUIET | {"rollout/success": 1.0}, {"publish": seconds, "learn": 0.0})
    assert len(line) <= 80


def test_what_was_started_anew_has_a_line_of_its_own() -> None:
    numbers = {"rollout/success": 0.0, "rollout/engine_restarts": 1.0, "rollout/worker_restarts": 2.0}
    _, line = UpdateLines(0, 150, Clock()).lines(7, numbers, SECONDS)
    assert line == "update 7: started anew: 1 engine, 2 env workers"
