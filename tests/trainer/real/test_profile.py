"""A profile on the real stack: every process on one time line."""

import gzip
import json
from collections import defaultdict
from typing import Any

import pytest

from tests.trainer.real.conftest import RUN, Stack, planned
from trainer.commands.profile import TRACE

pytestmark = pytest.mark.slow

WORK = {
    "driver": {"update", "collect", "score", "credit", "learn", "publish"},
    "engine 0": {"complete_wave", "load", "finish"},
    "env worker 0": {"reset", "step", "release"},
    "learner rank 0": {"score", "forward", "learn", "backward", "optimizer step", "open_publish", "pack"},
}
ROUNDING_US = 0.01


@pytest.fixture(scope="module")
def events(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("profile")
    stack.run("profile", planned("profile", *RUN, f"model.source={stack.policy}", f"output={folder}"))
    return json.loads(gzip.decompress((folder / TRACE).read_bytes()))["traceEvents"]


def test_a_trace_shows_what_every_process_did(events: list[dict[str, Any]]) -> None:
    processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    done: dict[str, set[str]] = defaultdict(set)
    for event in (event for event in events if event["ph"] == "X"):
        done[processes[event["pid"]]].add(event["name"])
    assert {name: work - done[name] for name, work in WORK.items()} == {name: set() for name in WORK}
    assert "release" in done["env worker 1"]


def test_laps_cover_the_update_and_spans_of_a_line_lie_inside_or_behind_each_other(
    events: list[dict[str, Any]],
) -> None:
    lines: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in (event for event in events if event["ph"] == "X"):
        lines[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    (_, whole), *laps = lines[0, 0]
    assert 0.95 * whole <= sum(end - start for start, end in laps) <= whole + ROUNDING_US
    for spans in lines.values():
        open_until: list[float] = []
        for start, end in spans:
            while open_until and open_until[-1] <= start + ROUNDING_US:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + ROUNDING_US
            open_until.append(end)
