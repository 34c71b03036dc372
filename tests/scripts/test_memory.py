"""How the memory of a run's parts is read, and the growth that follows from the readings."""

import json
import os
from pathlib import Path

import pytest

from scripts.memory import BLOCKS, MIB, READINGS, holds, report, slope
from tests.scripts.test_chaos import titled


def test_the_growth_of_a_straight_line_is_its_slope_without_doubt() -> None:
    episodes = [96.0 * update for update in range(1, 5 * BLOCKS)]
    grown = slope(episodes, [100 + 0.25 * number / 1000 for number in episodes])
    assert (grown.per_thousand, grown.half_width) == (pytest.approx(0.25), pytest.approx(0.0, abs=1e-9))


def test_readings_that_go_up_and_down_do_not_grow() -> None:
    flat = slope(list(range(BLOCKS * 10)), [100.0 + (number % 10) for number in range(BLOCKS * 10)])
    assert abs(flat.per_thousand) <= flat.half_width + 1e-9


def test_every_process_of_a_run_counts_in_its_part() -> None:
    with titled("ray::_Host", {"LOCAL_WORLD_SIZE": "1"}), titled("other", {}):
        parts = holds(os.getpid())
    assert {"driver", "learner rank", "Ray's own"} <= parts.keys()
    assert all(size > 0 for size in parts.values())


def test_the_table_leaves_out_the_time_in_which_caches_fill_and_in_which_the_run_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"groups_per_update": 5, "group_size": 2}))
    sizes = [(update, 10 * MIB if update <= 20 else 50 * MIB) for update in range(1, 101)]
    lines = [json.dumps({"update": update, "driver": size, "engine": size}) for update, size in sizes]
    ended = json.dumps({"update": 101, "driver": 0})  # an engine had ended before it was read
    (tmp_path / READINGS).write_text("\n".join([*lines, ended]))
    assert report(tmp_path) == {"episodes": 1000, "driver": 0.0, "engine": 0.0}
    assert "MiB after 210 episodes" in " ".join(capsys.readouterr().out.split())
