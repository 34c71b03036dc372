"""The proof that a GPU runs all of this: an engine and a learner side by side on one card, and whole updates.

The parts run in order, each prints one line at once, and one that fails does not end the rest. On a CPU the
parts that need no GPU run with a tiny model.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainer.commands.proof_bench import Bench, ProofSpec, Shown, in_a_process
from trainer.commands.proof_engine import EngineProof
from trainer.commands.proof_kernels import kernels
from trainer.commands.proof_learner import LearnerProof
from trainer.commands.proof_publish import PublishProof
from trainer.commands.proof_updates import update, updates
from trainer.report.progress import Display

LONGEST_FAILURE = 400
ERROR_LIMIT = 0.02
"""The largest relative error of a kernel that computes in bfloat16."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a proof."""

    name: str
    """What its line calls it."""
    run: Callable[[], Shown]
    """Does it."""
    needs: tuple[str, ...] = ()
    """What earlier parts must have given; else it is not run."""
    gives: str | None = None
    """What later parts may need."""
    publishes: bool = False
    """Whether it belongs to the check of publishes alone."""


def prove(spec: ProofSpec, folder: Path, display: Display, report: Path, *, publish_only: bool = False) -> bool:
    """Run the parts, print a line for each, and write them to `report` as JSON lines. Returns whether all hold.

    publish_only: run those parts only that a check of publishes consists of.
    """
    bench, given, holding = Bench(spec, folder), set[str](), True
    try:
        for part in parts(bench):
            if publish_only and not part.publishes:
                continue
            began = time.perf_counter()
            try:
                if lacking := [need for need in part.needs if need not in given]:
                    raise LookupError(f"it needs the {lacking[0]}, which an earlier part did not give")
                with display.doing(part.name):
                    shown, failure = part.run(), None
            except Exception as error:  # noqa: BLE001  one part that fails does not end the rest
                shown = Shown(numbers={}, holds=False)
                failure = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_FAILURE]}"
            if failure is None and part.gives is not None:
                given.add(part.gives)
            holding &= shown.holds
            _tell(part, shown, failure, time.perf_counter() - began, display, report)
    finally:
        bench.close()
    return holding


def parts(bench: Bench) -> Iterator[Part]:
    """The parts in order."""
    serving, publish, training = EngineProof(bench), PublishProof(bench), LearnerProof(bench)
    model, engine, learner, scores = "model", "engine", "learner", "scores"
    yield Part("model with random weights", publish.make_model, gives=model, publishes=True)
    yield Part("engine starts", serving.start, needs=(model,), gives=engine, publishes=True)
    yield Part("engine samples", serving.sample, needs=(engine,))
    yield Part("engine sleeps", serving.sleep, needs=(engine,), publishes=True)
    yield Part("learner starts beside it", training.start, needs=(engine,), gives=learner, publishes=True)
    for way in ("file", "shm", bench.fastest):
        name = f"engine takes weights by {way}"
        yield Part(name, partial(publish.publish, way), needs=(learner,), publishes=True)
        yield Part(f"engine and learner agree, {way}", publish.agree, needs=(learner,), publishes=True)
    yield Part("learner scores", training.score, needs=(learner,), gives=scores)
    yield Part("learner learns", training.learn, needs=(scores,))
    yield Part("engine takes new weights", partial(publish.publish, bench.fastest), needs=(scores,))
    yield Part("engine and learner agree again", publish.agree, needs=(scores,))
    yield Part("engine samples again", serving.sample, needs=(scores,))
    yield Part("engine refuses damaged weights", publish.refuse, needs=(learner,), publishes=True)
    bench.close()  # the rest needs the GPU for itself
    yield Part("packed pass equals rows", training.pack, needs=(model,))
    if bench.spec.device == "cuda":
        yield Part("kernels equal their slow twins", _kernels)
        for name, words in updates(bench.model):
            yield Part(name, partial(update, words, bench.folder), needs=(model,))


def _tell(part: Part, shown: Shown, failure: str | None, seconds: float, display: Display, report: Path) -> None:
    """One line for the reader and one for the report."""
    verdict = "ok" if shown.holds else f"FAILED {failure or shown.must}"
    figures = "  ".join(f"{key} {value:.4g}" for key, value in shown.numbers.items())
    display.line(f"{part.name:<32}{seconds:6.1f} s  {verdict}  {figures}")
    entry = {"part": part.name, "seconds": seconds, "holds": shown.holds, "must": shown.must, "failure": failure}
    with report.open("a") as file:
        file.write(json.dumps(entry | {"numbers": dict(shown.numbers)}) + "\n")


def _kernels() -> Shown:
    numbers = in_a_process(kernels)
    errors = [value for name, value in numbers.items() if name.endswith("_error")]
    return Shown(numbers=numbers, holds=max(errors) < ERROR_LIMIT, must=f"errors below {ERROR_LIMIT}")
