"""Checkpoints that are complete or absent: written under a temporary name, synced, renamed, then named as latest."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import checksums
from trainer.config.build import ConfigError
from trainer.learner.driver import Learner

FOLDER = "checkpoints"
TRACKER = "latest"
STATE = "state.json"
RENAMED = {"patience": "max_idle_turns"}  # settings of older checkpoints, and what they are called now


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands, apart from its weights."""

    update: int
    """The last finished update, which is also the policy version."""
    settings: dict[str, Any]
    """The settings that must be equal for a continuation to be the same run: all that are not harmless."""
    estimator: dict[str, Any]
    """The estimator's options as they are now, calibrated values included."""
    tracking: str | None
    """The run id of wandb; None without wandb."""
    seen: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Successes and rollouts of each task, for task_choice=difficulty (`Difficulty.seen`); else empty."""


def save(output: Path, learner: Learner, state: RunState, *, keep: int) -> Path:
    """Write the checkpoint of `state.update`, with a Hugging Face export in `model/`. Keep the newest `keep` only."""
    folder = output / FOLDER / f"update-{state.update:06d}"
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "learner").mkdir(parents=True)
    learner.save(partial / "learner")
    learner.export(partial / "model")
    (partial / STATE).write_text(json.dumps(asdict(state), indent=1))
    checksums.write(partial)
    _sync_all(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    _sync(folder.parent)
    _write_tracker(output / FOLDER, folder.name)
    # A run that went back to an older checkpoint does not delete later ones until it reaches them again.
    for old in sorted(path for path in (output / FOLDER).glob("update-*") if path <= folder)[:-keep]:
        shutil.rmtree(old)
    return folder


def latest(output: Path) -> Path | None:
    """The folder of the latest checkpoint, or None for a fresh run. Raises ConfigError if that folder is incomplete."""
    tracker = output / FOLDER / TRACKER
    if not tracker.is_file():
        return None
    folder = output / FOLDER / tracker.read_text().strip()
    if not (folder / STATE).is_file():
        raise ConfigError(
            f"{tracker} names {folder.name}, which is not there: write the name of another folder into it"
        )
    return folder


def undamaged(output: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The latest checkpoint whose files are all as they were written, and what is wrong with the later ones.

    None for a fresh run. Raises ConfigError where there are checkpoints and all of them are damaged.
    """
    newest = latest(output)
    if newest is None:
        return None
    damaged: list[str] = []
    for folder in sorted((path for path in newest.parent.glob("update-*") if path <= newest), reverse=True):
        fault = checksums.damage(folder)
        if fault is None:
            return folder, tuple(damaged)
        damaged.append(f"checkpoint {folder.name} is damaged: {fault}")
    raise ConfigError(f"{'; '.join(damaged)}: start anew in another output folder")


def read_state(folder: Path) -> RunState:
    """The state that was saved in a checkpoint's folder. Raises ConfigError if the file is broken."""
    try:
        state = RunState(**json.loads((folder / STATE).read_text()))
        settings = {RENAMED.get(key, key): value for key, value in state.settings.items()}
        return replace(state, settings=settings)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / STATE} is broken ({error}): resume from another checkpoint") from error


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """Force a file's bytes, or a folder's list of names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_tracker(folder: Path, name: str) -> None:
    partial = folder / f".{TRACKER}.partial"
    partial.write_text(name)
    _sync(partial)
    partial.rename(folder / TRACKER)
    _sync(folder)
