"""Spans are kept while they are asked for; those of one flow nest, those of several tasks are flows of their own."""

import asyncio
import time
from contextlib import suppress

import pytest

from rollout import spans
from rollout.spans import span


def test_nothing_is_kept_and_nothing_is_made_before_the_start() -> None:
    assert span("a") is span("b")
    with span("a"):
        pass
    spans.add([("b", 0.0, 1.0)])
    assert spans.take() == []


def test_a_span_inside_another_is_of_its_flow_and_lies_in_it() -> None:
    before = spans.start()
    with span("outer"), span("inner"):
        pass
    with span("after"):
        pass
    inner, outer, after = spans.take()
    assert [one.name for one in (inner, outer, after)] == ["inner", "outer", "after"]
    assert before <= outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns <= after.start_ns
    assert inner.flow == outer.flow != after.flow


def test_tasks_that_interleave_are_flows_of_their_own() -> None:
    async def work(name: str) -> None:
        with span(name):
            await asyncio.sleep(0)
            with span(f"inside {name}"):
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(work("a"), work("b"))

    spans.start()
    asyncio.run(both())
    flow = {one.name: one.flow for one in spans.take()}
    assert flow["a"] == flow["inside a"] != flow["b"] == flow["inside b"]


def test_work_that_fails_is_kept_as_well() -> None:
    spans.start()
    with suppress(RuntimeError), span("fails"):
        raise RuntimeError
    assert [one.name for one in spans.take()] == ["fails"]


def test_what_another_clock_has_measured_is_moved_to_the_clock_of_the_day() -> None:
    spans.start()
    now, day = time.monotonic(), time.time_ns()
    spans.add([("queued", now - 2.0, now - 1.0), ("running", now - 1.0, now)])
    queued, running = spans.take()
    assert queued.flow == running.flow
    assert (queued.end_ns - queued.start_ns) / 1e9 == pytest.approx(1.0, abs=1e-3)
    assert abs(running.end_ns - day) < 1e9
