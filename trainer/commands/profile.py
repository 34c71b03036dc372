"""Trace one update of a training run: the driver, the engines, the env workers and the ranks on one time line."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table

from rollout import spans
from rollout.spans import Span, span
from trainer.config.commands import ProfileConfig
from trainer.data.difficulty import Difficulty
from trainer.gather import Ahead
from trainer.report.progress import Display
from trainer.report.stopwatch import Stopwatch
from trainer.report.trace import Kind, Part, Track, parts_of, write_trace
from trainer.setup.parts import Parts, assembled
from trainer.setup.preflight import TrainingPlan
from trainer.step import Beside, publish, update

TRACE = "trace.json.gz"
UPDATE = "update"


class Actor(Protocol):
    """A process that keeps spans."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def call(self, method: str) -> Any:
        """Call and wait."""
        ...


def profile(plan: TrainingPlan, display: Display) -> None:
    """Run the updates, trace the last one, write the trace and print where its seconds went."""
    config = plan.config
    assert isinstance(config, ProfileConfig)
    trace = Path(config.output).absolute() / TRACE
    with assembled(config, plan.world, display) as parts:
        with display.doing("publish"):
            publish(parts, 0)
        ahead = Ahead() if config.ahead else None
        with nullcontext() if ahead is None else closing(ahead):
            tracks = traced_update(parts, plan, display, warm=config.warm_updates, ahead=ahead)
    write_trace(trace, tracks)
    display.console.print(table_of(tracks))
    display.line(f"the trace, to open at ui.perfetto.dev: {trace}")


def traced_update(
    parts: Parts, plan: TrainingPlan, display: Display, *, warm: int, ahead: Ahead | None = None
) -> list[Track]:
    """Run `warm` updates and one more. Returns the spans of that one. ahead: plays the next update's rollouts."""
    estimator, difficulty = plan.estimator, Difficulty()
    for number in range(1, warm + 1):
        display.stage(f"update {number} of {warm + 1}, to warm up")
        watch = Stopwatch(during=display.doing)
        report = update(parts, estimator, number, watch=watch, difficulty=difficulty, beside=Beside(ahead=ahead))
        estimator, difficulty = report.estimator, report.difficulty
    display.stage(f"update {warm + 1} of {warm + 1}, traced")
    shifts = {actor.name: shift_ns(actor) for _, actor in _actors(parts)}
    spans.start()
    with span(UPDATE):
        watch = Stopwatch(during=_lap(display))
        update(parts, estimator, warm + 1, watch=watch, difficulty=difficulty, beside=Beside(ahead=ahead))
    driver = Track(kind="driver", name="driver", spans=tuple(spans.take()))
    return [driver, *(_track(kind, actor, driver, shifts) for kind, actor in _actors(parts))]


def shift_ns(actor: Actor) -> int:
    """Let an actor keep its spans. Returns what is to be added to its clock; 0 where it agrees within the ping."""
    before = time.time_ns()
    theirs = actor.call("start_spans")
    after = time.time_ns()
    return 0 if before <= theirs <= after else (before + after) // 2 - theirs


def table_of(tracks: Sequence[Track]) -> Table:
    """Where the seconds of the update went, in 80 columns."""
    update_span, *laps = sorted(tracks[0].spans, key=lambda one: (one.start_ns, -one.end_ns))
    parts = parts_of(tracks, update_span, laps)
    kinds = list(parts[-1].idle)
    table = Table(title="where the update's seconds went, and who was idle", title_justify="left")
    table.add_column("part")
    for title in ("seconds", "share", *(f"{kind}s idle" for kind in kinds)):
        table.add_column(title, justify="right")
    for part in parts:
        table.add_row(*_cells(part, kinds, parts[-1].seconds), end_section=part.name == "between")
    return table


def _cells(part: Part, kinds: Sequence[Kind], whole: float) -> list[str]:
    idle = [f"{100 * part.idle[kind]:.0f} %" if kind in part.idle else "" for kind in kinds]
    return [part.name, f"{part.seconds:.2f}", f"{100 * part.seconds / whole:.0f} %", *idle]


def _actors(parts: Parts) -> list[tuple[Kind, Actor]]:
    """The processes of a run as they are now."""
    return [
        *(("engine", engine) for engine in parts.engines.remotes),
        *(("env worker", worker) for worker in parts.collector.pool.remotes),
        *(("learner rank", rank) for rank in parts.learner.ranks),
    ]


def _track(kind: Kind, actor: Actor, driver: Track, shifts: Mapping[str, int]) -> Track:
    """What an actor did during the update; nothing is known of one that was started meanwhile."""
    shift, begun_ns = shifts[actor.name], min(one.start_ns for one in driver.spans)
    own: list[Span] = actor.call("take_spans")
    moved = [replace(one, start_ns=one.start_ns + shift, end_ns=one.end_ns + shift) for one in own]
    return Track(kind=kind, name=actor.name, spans=tuple(one for one in moved if one.start_ns >= begun_ns))


def _lap(display: Display) -> Any:
    @contextmanager
    def lap(name: str) -> Iterator[None]:
        with display.doing(name), span(name):
            yield

    return lap
