"""The spans of several processes on one time line: as a Chrome trace, which ui.perfetto.dev shows, and in sums."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rollout.spans import Span

Kind = Literal["driver", "engine", "env worker", "learner rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The spans of one process."""

    kind: Kind
    """What kind of process it is."""
    name: str
    """Which one."""
    spans: tuple[Span, ...]
    """By the driver's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an update and who worked in it."""

    name: str
    """The lap, or what a row of sums is called."""
    seconds: float
    """Its wall time."""
    idle: dict[Kind, float]
    """Share of it in which the processes of a kind did nothing, averaged over them, in [0, 1]."""


def write_trace(path: Path, tracks: Sequence[Track]) -> None:
    """Write a Chrome trace, gzipped: a process for each track, and as many threads as it did things at once."""
    begun_ns = min(span.start_ns for track in tracks for span in track.spans)
    events = [event for number, track in enumerate(tracks) for event in _events(number, track, begun_ns)]
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)


def _events(number: int, track: Track, begun_ns: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": track.name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": number, "args": {"sort_index": number}}
    lanes = lanes_of(track.spans)
    for lane in sorted(set(lanes.values())):
        yield {"ph": "M", "name": "thread_name", "pid": number, "tid": lane, "args": {"name": f"{lane + 1}"}}
    for span in sorted(track.spans, key=lambda one: (one.start_ns, -one.end_ns)):
        where = {"pid": number, "tid": lanes[span.flow]}
        start, length = (span.start_ns - begun_ns) / 1000, (span.end_ns - span.start_ns) / 1000  # microseconds
        yield {"ph": "X", "name": span.name, "ts": start, "dur": length, **where}


def lanes_of(spans: Sequence[Span]) -> dict[int, int]:
    """A lane for each flow, from 0: flows that overlap in time have different ones. flow -> lane"""
    starts, ends = dict[int, int](), dict[int, int]()
    for span in spans:
        starts[span.flow] = min(span.start_ns, starts.get(span.flow, span.start_ns))
        ends[span.flow] = max(span.end_ns, ends.get(span.flow, span.end_ns))
    lanes, free_from = dict[int, int](), list[int]()
    for flow in sorted(starts, key=lambda one: (starts[one], one)):
        lane = next((lane for lane, free in enumerate(free_from) if free <= starts[flow]), len(free_from))
        free_from[lane : lane + 1] = [ends[flow]]
        lanes[flow] = lane
    return lanes


def parts_of(tracks: Sequence[Track], update: Span, laps: Sequence[Span]) -> list[Part]:
    """The laps of an update, what lies between them, and the whole."""
    windows = [(lap.name, lap.start_ns, lap.end_ns) for lap in laps]
    parts = [_part(tracks, *window) for window in (*windows, ("the update", update.start_ns, update.end_ns))]
    between = parts[-1].seconds - sum(part.seconds for part in parts[:-1])
    return [*parts[:-1], Part(name="between", seconds=between, idle={}), parts[-1]]


def _part(tracks: Sequence[Track], name: str, start_ns: int, end_ns: int) -> Part:
    whole = max(end_ns - start_ns, 1)
    kinds: list[Kind] = [track.kind for track in tracks if track.kind != "driver"]
    idle = dict[Kind, float]()
    for kind in dict.fromkeys(kinds):
        busy = [busy_ns(track.spans, start_ns, end_ns) for track in tracks if track.kind == kind]
        idle[kind] = 1 - sum(busy) / len(busy) / whole
    return Part(name=name, seconds=(end_ns - start_ns) / 1e9, idle=idle)


def busy_ns(spans: Sequence[Span], start_ns: int, end_ns: int) -> int:
    """Nanoseconds between start and end in which at least one span was under way."""
    busy, until = 0, start_ns
    for span in sorted(spans, key=lambda one: one.start_ns):
        start, end = max(span.start_ns, until), min(span.end_ns, end_ns)
        if end > start:
            busy, until = busy + end - start, end
    return busy
