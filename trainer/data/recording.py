"""The rollouts of a run's updates on disk: kept as they are trained on, and found again."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rollout.record import write_groups
from rollout.types import RolloutGroup
from trainer.config.build import ConfigError

FOLDER = "rollouts"
"""Where they lie, in a run's folder."""
PATTERN = "update-*.jsonl.zst"
"""File names of recorded updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One update's rollouts on disk."""

    update: int
    """The update's number, from 1."""

    groups: Path
    """The compressed rollouts."""

    embeddings: Path | None
    """The hidden states of their rows; None where the run did not keep them."""

    logprobs: Path | None = None
    """The learner's log-probs of their response tokens; None where the learner did not score them, or none are kept."""

    values: Path | None = None
    """What the critic said of the rows, or of their response tokens; None where the run had none, or none are kept."""

    truth: Path | None = None
    """The estimated advantages of their rows; None where `stepcredit truth` has not estimated them."""


def recordings(run: Path, updates: Sequence[int] | None) -> tuple[Recording, ...]:
    """The updates that a run kept, all where None are named. Raises ConfigError where one is not there."""
    if not run.is_dir():
        raise ConfigError(f"there is no folder {run}: name the output folder of a run")
    folder = run / FOLDER
    files = {int(path.name[7:13]): path for path in sorted(folder.glob(PATTERN))}
    if not files:
        raise ConfigError(
            f"run={run} holds no recorded rollouts ({folder}/{PATTERN}): keep them with "
            "stepcredit train record=embeddings, or record=rollouts without hidden states"
        )
    updates = tuple(files) if updates is None else updates
    for update in updates:
        if update not in files:
            raise ConfigError(f"updates: {update} is not recorded in {folder}, which has {min(files)} to {max(files)}")
    return tuple(
        Recording(
            update=update,
            groups=files[update],
            embeddings=_kept(_file(run, update, "embeddings.npy")),
            logprobs=_kept(_file(run, update, "logprobs.npy")),
            values=_kept(_file(run, update, "values.npy")),
            truth=_kept(truth_file(files[update])),
        )
        for update in updates
    )


def write_recording(
    run: Path, update: int, groups: Sequence[RolloutGroup], arrays: Mapping[str, NDArray[np.float32]]
) -> None:
    """Keep an update's rollouts, and beside them arrays by the names that `Recording` gives them.

    What was kept of this update or of later ones goes.
    """
    (run / FOLDER).mkdir(exist_ok=True)
    drop_after(run, update - 1)
    for name, array in arrays.items():
        whole = io.BytesIO()
        np.save(whole, array)  # into a file, numpy tells of a full disk without its name
        _file(run, update, f"{name}.npy").write_bytes(whole.getbuffer())
    write_groups(_file(run, update, "jsonl.zst"), groups)  # last: now it is whole


def drop_after(run: Path, last: int) -> None:
    """Remove what is recorded of the updates after `last`: they are played anew, and nothing of theirs is paired with
    files of the old ones.
    """
    for path in (run / FOLDER).glob("update-*.*"):
        number = path.name.removeprefix("update-").partition(".")[0]
        if number.isdecimal() and int(number) > last:
            path.unlink()


def check_updates(updates: Sequence[int] | None) -> None:
    """Raise ConfigError for a setting `updates` that names none, or one twice."""
    if updates is not None and (not updates or len(set(updates)) < len(updates)):
        raise ConfigError(f"updates={list(updates)}: give one or more, each once, or null for all")


def truth_file(groups: Path) -> Path:
    """Where the estimated advantages of an update's rows lie."""
    return groups.with_name(groups.name.replace(".jsonl.zst", ".truth.npz"))


def _file(run: Path, update: int, ending: str) -> Path:
    return run / FOLDER / f"update-{update:06d}.{ending}"


def _kept(path: Path) -> Path | None:
    return path if path.is_file() else None
