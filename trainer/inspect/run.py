"""`stepcredit inspect`: the credit of every step of recorded rollouts as one HTML page."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from estimators import Estimator, Needs, needs
from trainer.config.build import ConfigError
from trainer.data.recording import Recording
from trainer.data.tokens import Float32
from trainer.inspect.credit import described, row_credit
from trainer.inspect.generated import drawn_rollouts
from trainer.inspect.groups import Shown, group_records, update_head
from trainer.inspect.plan import InspectPlan, own_estimator
from trainer.inspect.records import PageRecord
from trainer.inspect.serve import PORT, Pages, PageServer
from trainer.inspect.tokens import speller
from trainer.inspect.write import PageFile
from trainer.lab.measure.estimated import read_truth
from trainer.lab.measure.reading import batch_of, read_rows
from trainer.report.progress import Display
from trainer.report.rate import Z


def inspect(plan: InspectPlan, display: Display) -> Path:
    """Write the page, or serve it until the command is ended. Returns the page's path.

    Raises ConfigError for a recording that is not whole, and for a port that cannot be had.
    """
    if not plan.config.serve:
        path = write_page(plan, dict(plan.estimators), display)
        display.line(f"page: {path}")
        return path
    pages = pages_of(plan, display)
    with PageServer(pages, PORT if plan.config.port is None else plan.config.port) as server:
        display.line(f"update {pages.newest().update} of {plan.config.run}: {server.address}  Ctrl-C ends it")
        server.serve_forever()
    return Path(plan.config.output)


def pages_of(plan: InspectPlan, display: Display) -> Pages:
    """The page of the run's newest update, with the plan's settings. What an estimator measures, it measures once."""
    estimators = dict(plan.estimators)
    run = Path(plan.config.run or "").absolute()
    return Pages(run, lambda recording: write_page(replace(plan, recordings=(recording,)), estimators, display))


def write_page(plan: InspectPlan, estimators: dict[str, Estimator], display: Display) -> Path:
    """Write the page; what the estimators calibrate on it is kept in `estimators`. Returns its path."""
    spell, heads = speller(plan.model), []
    page = PageFile(Path(plan.config.output))
    with display.counting("updates", len(plan.recordings)) as bar:
        for shown in _updates(plan, estimators):
            page.add(shown.update, group_records(shown, spell))
            heads.append(update_head(shown))
            bar.advance()
    page.write(
        PageRecord(
            run=plan.config.run or f"{plan.config.world}, layout {plan.config.layout}",
            world=plan.settings.get("env", {}).get("world") or "",
            own=plan.settings.get("estimator", {}).get("name") or "",
            estimators=[described(label, estimator) for label, estimator in estimators.items()],
            updates=heads,
            missing=list(missing(plan)),
            follows=plan.config.serve,
        )
    )
    return page.path


def missing(plan: InspectPlan) -> Iterator[str]:
    """What the run did not record, in words."""
    if plan.config.world is not None:
        yield "A world of known truth: a table with a fixed policy, solved exactly. There are no tokens."
        return
    if not plan.settings:
        yield "No config.json lies beside the rollouts: the estimators have the papers' settings, not the run's."
    if (mode := plan.settings.get("revise", {}).get("mode", "revise")) != "revise":
        yield f"The run learned from retries too (revise.mode={mode}): credit here is of its rollouts alone."
    if any(recording.embeddings is None for recording in plan.recordings):
        yield "Hidden states were not recorded: train with record=embeddings to see neighbours in hidden space."
    if any(recording.logprobs is None for recording in plan.recordings):
        yield "The learner's log-probs were not recorded, so no gap between engine and learner is shown."
    if any(recording.truth is None for recording in plan.recordings):
        yield "The true advantages are not known: stepcredit truth RUN_DIR estimates them."
    own = own_estimator(plan.settings)
    if own is not None and needs(own).critic and any(recording.values is None for recording in plan.recordings):
        yield "What the run's critic said was not recorded, so its own estimator cannot be shown."
    if plan.model is None:
        yield "No tokenizer was found beside the run: tokens are shown by their ids."


def _updates(plan: InspectPlan, estimators: dict[str, Estimator]) -> Iterator[Shown]:
    """One update at a time; an estimator that calibrates itself does so on the first, and stays so."""
    if plan.config.world is not None:
        rollouts = drawn_rollouts(plan.config)
        ready, credit = row_credit(estimators, lambda _: rollouts.batch)
        estimators |= ready
        yield Shown(update=1, rows=rollouts.rows, batch=rollouts.batch, credit=credit, truth=rollouts.truth)
    truncated: Any = plan.settings.get("rollout", {}).get("truncated", "keep")
    for recording in plan.recordings:
        rows = read_rows(recording, estimators)
        embedding = _column(recording, recording.embeddings, len(rows))
        tokens = int(rows.response_lens.sum())
        values = _column(recording, recording.values, len(rows), tokens)  # of turns, or of tokens
        columns = partial(batch_of, recording, rows, embedding, values=values)
        ready, credit = row_credit(estimators, columns)
        estimators |= ready
        truth = read_truth(recording.truth, len(rows))
        yield Shown(
            update=recording.update,
            rows=rows,
            batch=columns(Needs()),
            credit=credit,
            truncated=truncated,
            logprobs=_column(recording, recording.logprobs, tokens),
            truth=None if truth is None else truth.advantage,
            truth_error=None if truth is None else Z * truth.error,
        )


def _column(recording: Recording, path: Path | None, *lengths: int) -> Float32 | None:
    """An array that lies beside the rollouts. Raises ConfigError where it is broken or does not fit them."""
    if path is None:
        return None
    try:
        values = np.load(path).astype(np.float32)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path} is no whole array ({error}): delete it") from error
    if len(values) not in lengths:
        needed = " or ".join(map(str, lengths))
        raise ConfigError(f"{path} has {len(values)} entries, {recording.groups.name} needs {needed}: delete it")
    return values
