"""A Chrome trace and the sums of its spans, by hand."""

import gzip
import json
from pathlib import Path
from typing import Any

from rollout.spans import Span
from trainer.report.trace import Track, busy_ns, lanes_of, parts_of, write_trace


def span(name: str, start: int, end: int, flow: int = 0) -> Span:
    return Span(name=name, start_ns=start, end_ns=end, flow=flow)


UPDATE = span("update", 0, 100_000)
LAPS = [span("collect", 0, 60_000), span("learn", 60_000, 96_000)]
TRACKS = [
    Track(kind="driver", name="driver", spans=(UPDATE, *LAPS)),
    Track(kind="engine", name="engine 0", spans=(span("complete", 0, 30_000, 1), span("complete", 15_000, 45_000, 2))),
    Track(kind="engine", name="engine 1", spans=()),
]


def test_time_in_which_several_spans_overlap_counts_once_and_only_inside_the_window() -> None:
    spans = [span("a", 0, 4), span("b", 2, 6), span("c", 3, 5), span("d", 8, 20)]
    assert busy_ns(spans, 1, 10) == 5 + 2
    assert busy_ns([], 1, 10) == 0


def test_flows_that_overlap_get_lanes_of_their_own_and_others_share_one() -> None:
    spans = [span("a", 0, 4, 7), span("in a", 1, 2, 7), span("b", 3, 6, 8), span("c", 4, 5, 9)]
    assert lanes_of(spans) == {7: 0, 8: 1, 9: 0}


def test_parts_tell_the_seconds_of_each_lap_and_the_mean_idle_share_of_each_kind() -> None:
    collect, learn, between, whole = parts_of(TRACKS, UPDATE, LAPS)
    assert (collect.name, collect.seconds) == ("collect", 60e-6)
    assert collect.idle == {"engine": 1 - 45 / 60 / 2}
    assert learn.idle == {"engine": 1.0}
    assert (between.name, round(between.seconds, 9), between.idle) == ("between", 4e-6, {})
    assert (whole.seconds, whole.idle) == (100e-6, {"engine": 1 - 45 / 100 / 2})


def test_a_trace_has_a_process_for_each_track_and_times_in_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    write_trace(path, TRACKS)
    events: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["driver", "engine 0", "engine 1"]
    spans = [
        (event["pid"], event["tid"], event["name"], event["ts"], event["dur"]) for event in events if "ts" in event
    ]
    assert spans == [
        (0, 0, "update", 0.0, 100.0),
        (0, 0, "collect", 0.0, 60.0),
        (0, 0, "learn", 60.0, 36.0),
        (1, 0, "complete", 0.0, 30.0),
        (1, 1, "complete", 15.0, 30.0),
    ]
