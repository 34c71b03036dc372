"""Checkpoints that are complete or absent: written under a temporary name, synced, renamed, then named as latest."""

import json
import secrets
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import checksums
from trainer.config.build import ConfigError
from trainer.durable import sync, sync_all, write_whole

FOLDER = "checkpoints"
TRACKER = "latest"
STATE = "state.json"
MODEL = "model"
"""The exported model, in the folder of a checkpoint."""
LEARNER = "learner"
"""What the learner's ranks need to go on, beside it."""
TWIN = f"{LEARNER}/twin"
"""The same for a scorer's copy of the policy."""
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


def sweep(output: Path) -> None:
    """Remove what processes that died left half-written: checkpoints, and conversions for another number of ranks."""
    for path in (output / FOLDER).glob(".update-*"):
        shutil.rmtree(path, ignore_errors=True)  # a rank that outlives its run may still write into it


def begin(output: Path, state: RunState) -> Path:
    """Make the folder in which the checkpoint of `state.update` is written. Removes what writers that died left."""
    (output / FOLDER).mkdir(parents=True, exist_ok=True)
    sweep(output)
    # A rank that outlives its run knows the old name, and cannot write into the new folder.
    partial = output / FOLDER / f".{_name(state.update)}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    (partial / STATE).write_text(json.dumps(asdict(state), indent=1))
    return partial


def commit(partial: Path, *, keep: int) -> Path:
    """Make the folder, whose files are all written, the latest checkpoint.

    Only the newest `keep` checkpoints and the newest `keep` exports stay.
    """
    folder = partial.with_name(partial.name.split(".")[1])
    checksums.join(partial)
    sync_all(partial)
    old = partial.with_suffix(".old")  # a damaged checkpoint of this update, before which the run went back
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    sync(folder.parent)
    write_whole(folder.parent / TRACKER, folder.name)
    shutil.rmtree(old, ignore_errors=True)
    _forget(folder, keep)
    return folder


def export_of(output: Path, update: int) -> Path:
    """Where the Hugging Face folder of an update's checkpoint lies, if it has one."""
    return output / FOLDER / _name(update) / MODEL


def named(output: Path) -> Path | None:
    """The folder that is named as the latest checkpoint, whether it is there or not; without a name, as in a copy, the
    newest; None for a fresh run.
    """
    tracker = output / FOLDER / TRACKER
    if tracker.is_file():
        return output / FOLDER / tracker.read_text().strip()
    return max((state.parent for state in (output / FOLDER).glob(f"update-*/{STATE}")), default=None)


def latest(output: Path) -> Path | None:
    """The folder of the latest checkpoint, or None for a fresh run. Raises ConfigError if that folder is incomplete."""
    folder = named(output)
    if folder is not None and not (folder / STATE).is_file():
        tracker = folder.parent / TRACKER
        raise ConfigError(
            f"{tracker} names {folder.name}, which is not there: write the name of another folder into it"
        )
    return folder


def undamaged(output: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The latest checkpoint whose files are all as they were written, and what is wrong with the later ones.

    None for a fresh run. Raises ConfigError where there are checkpoints and all of them are damaged.
    """
    newest = named(output)
    if newest is None:
        return None
    damaged = [] if _resumes(newest) else [f"checkpoint {newest.name} is named as the latest and is not there"]
    for folder in reversed([path for path in _up_to(newest) if _resumes(path)]):
        fault = checksums.damage(folder)
        if fault is None:
            return folder, tuple(damaged)
        damaged.append(f"checkpoint {folder.name} is damaged: {fault}")
    raise ConfigError(f"{'; '.join(damaged)}: start anew in another output folder")


def newest_export(output: Path) -> Path | None:
    """The newest Hugging Face folder that the run has written; None if there is none."""
    return max((output / FOLDER).glob(f"update-*/{MODEL}"), default=None)


def read_state(folder: Path) -> RunState:
    """The state that was saved in a checkpoint's folder. Raises ConfigError if the file is broken."""
    try:
        state = RunState(**json.loads((folder / STATE).read_text()))
        settings = {RENAMED.get(key, key): value for key, value in state.settings.items()}
        return replace(state, settings=settings)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / STATE} is broken ({error}): resume from another checkpoint") from error


def _up_to(newest: Path) -> list[Path]:
    return sorted(path for path in newest.parent.glob("update-*") if path <= newest)


def _resumes(folder: Path) -> bool:
    """Whether the folder is a checkpoint, whole or damaged. Of an old one the export alone may be left."""
    return (folder / STATE).is_file() or (folder / checksums.FILE).is_file()


def _forget(newest: Path, keep: int) -> None:
    """Remove what is too old: a folder, or, of one whose export stays, what only a resume needs.

    A run that went back to an older checkpoint does not delete later ones until it reaches them again.
    """
    folders = _up_to(newest)
    checkpoints = [folder for folder in folders if _resumes(folder)][-keep:]
    exports = [folder for folder in folders if (folder / MODEL).is_dir()][-keep:]
    for folder in folders:
        if folder in checkpoints:
            continue
        # The state goes before the learner's files: half a folder is no checkpoint, whenever the process dies.
        for name in (checksums.FILE, STATE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder if folder not in exports else folder / LEARNER, ignore_errors=folder in exports)


def update_of(folder: Path) -> int:
    """The update after which a checkpoint was written."""
    return int(folder.name.removeprefix("update-"))


def _name(update: int) -> str:
    return f"update-{update:06d}"
