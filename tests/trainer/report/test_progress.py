"""Without a terminal, long work speaks every thirty seconds: what it does, how far, how fast; short work is silent."""

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from trainer.report.progress import Display, duration


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shown(Display):
    """A display without a terminal, its clock, and what it printed."""

    def __init__(self, *, terminal: bool = False) -> None:
        self.out, self.clock = StringIO(), Clock()
        console = Console(file=self.out, highlight=False, soft_wrap=True, force_terminal=terminal)
        super().__init__(console, clock=self.clock)

    def after(self, seconds: float) -> list[str]:
        """The lines since the last call, when so many seconds have passed and the heart has beaten."""
        self.clock.now += seconds
        self.beat()
        lines = self.out.getvalue().splitlines()
        self.out.seek(0)
        self.out.truncate()
        return lines


def test_a_stage_that_takes_long_says_so_every_thirty_seconds_and_not_more_often() -> None:
    shown = Shown()
    shown.stage("starting the engine")
    assert shown.after(29) == ["· starting the engine"]
    assert shown.after(1) == ["· starting the engine for 30 s"]
    assert shown.after(29) == []
    assert shown.after(1) == ["· starting the engine for 60 s"]
    assert shown.after(600) == ["· starting the engine for 11 min"]


def test_counted_work_says_how_far_and_how_fast_it_is() -> None:
    shown = Shown()
    with shown.counting("rollouts", 8) as bar:
        assert shown.after(30) == ["· rollouts 0/8 after 30 s"]
        bar.advance()
        bar.advance()
        assert shown.after(30) == ["· rollouts 2/8 after 60 s, 2 a minute, 3 min left"]
        for _ in range(6):
            bar.advance()
        assert shown.after(30) == ["· rollouts 8/8 after 90 s"]
    assert shown.after(300) == []


def test_what_was_done_before_counts_and_tells_nothing_of_the_pace() -> None:
    shown = Shown()
    with shown.counting("cells", 9) as bar:
        bar.advance(5, found=True)
        assert shown.after(30) == ["· cells 5/9 after 30 s"]
        bar.advance()
        assert shown.after(30) == ["· cells 6/9 after 60 s, 1 a minute, 3 min left"]


def test_work_inside_other_work_is_named_with_it_and_finished_counts_are_left_out() -> None:
    shown = Shown()
    with shown.counting("updates", 10) as updates:
        updates.advance()
        with shown.counting("rollouts", 1) as rollouts, shown.doing("collect"):
            assert shown.after(30) == ["· updates 1/10, rollouts 0/1, collect for 30 s"]
            rollouts.advance()
            assert shown.after(30) == ["· updates 1/10, collect for 60 s"]
        assert shown.after(30) == ["· updates 1/10 after 90 s, 0.667 a minute, 14 min left"]


def test_any_line_is_a_sign_of_life() -> None:
    shown = Shown()
    with shown.doing("learn"):
        assert shown.after(20) == []
        shown.line("epoch 1/3")
        assert shown.after(20) == ["epoch 1/3"]
        assert shown.after(20) == ["· learn for 60 s"]


def test_on_a_terminal_bars_speak_for_themselves_and_work_without_one_is_named() -> None:
    shown = Shown(terminal=True)
    with shown.doing("starting"):
        assert "starting for 30 s" in "".join(shown.after(30))
        with shown.counting("updates", 10):
            assert "after" not in "".join(shown.after(300))


def test_a_thread_lets_work_speak_that_never_comes_back() -> None:
    shown = Shown()
    shown._every_s = 0.01
    with shown.beating(), shown.doing("compile"):
        wait_for(lambda: "compile for" in shown.out.getvalue(), shown.clock)


def wait_for(holds: Callable[[], bool], clock: Clock) -> None:
    while not holds():  # the test's own time limit ends it
        clock.now += 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5990, "100 min"), (9000, "2.5 h")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_text_is_printed_as_it_is() -> None:
    shown = Shown()
    shown.stage("model runs/[seed=1]/model")
    shown.line("[bold]:smile:")
    with shown.counting("tasks of [easy]", 2):
        assert shown.after(30) == ["· model runs/[seed=1]/model", "[bold]:smile:", "· tasks of [easy] 0/2 after 30 s"]
