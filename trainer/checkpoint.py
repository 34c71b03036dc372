"""Checkpoints that are whole or absent: written beside, synced, renamed, and only then named as the latest."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.config.build import ConfigError
from trainer.learner.driver import Learner

FOLDER = "checkpoints"
TRACKER = "latest"
STATE = "state.json"
RENAMED = {"patience": "max_idle_turns"}  # settings of older checkpoints, and what they are called now


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands, beside its weights. update: the last one done, also the policy version.

    settings: what must be equal for the continuation to be the same run. estimator: options as they are by now,
    calibrated ones included. tracking: the logger's run id.
    """

    update: int
    settings: dict[str, Any]
    estimator: dict[str, Any]
    tracking: str | None


def save(output: Path, learner: Learner, state: RunState, *, keep: int) -> Path:
    """Write the checkpoint of `state.update` with a Hugging Face export in `model/`; drop all but the newest `keep`."""
    folder = output / FOLDER / f"update-{state.update:06d}"
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "learner").mkdir(parents=True)
    learner.save(partial / "learner")
    learner.export(partial / "model")
    (partial / STATE).write_text(json.dumps(asdict(state), indent=1))
    _sync_all(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    _sync(folder.parent)
    _write_tracker(output / FOLDER, folder.name)
    # A run that fell back to an older checkpoint leaves the later ones alone until it gets there.
    for old in sorted(one for one in (output / FOLDER).glob("update-*") if one <= folder)[:-keep]:
        shutil.rmtree(old)
    return folder


def latest(output: Path) -> Path | None:
    """The folder that the tracker names, or None for a fresh run. Raises ConfigError where it is not whole."""
    tracker = output / FOLDER / TRACKER
    if not tracker.is_file():
        return None
    folder = output / FOLDER / tracker.read_text().strip()
    if not (folder / STATE).is_file():
        raise ConfigError(
            f"{tracker} names {folder.name}, which is not there: write the name of another folder into it"
        )
    return folder


def read_state(folder: Path) -> RunState:
    """Raises ConfigError where the file is broken."""
    try:
        return RunState(**json.loads((folder / STATE).read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise ConfigError(f"{folder / STATE} is broken ({error}): resume from another checkpoint") from error


def check_same_run(state: RunState, settings: dict[str, Any], folder: Path) -> None:
    """Raises ConfigError naming the first setting that differs from the checkpoint's."""
    before, now = _flat({RENAMED.get(key, key): value for key, value in state.settings.items()}), _flat(settings)
    for key in sorted(before.keys() | now.keys()):
        saved, asked = before.get(key), now.get(key)
        if saved != asked:
            raise ConfigError(
                f"checkpoint {folder} was made with {key}={saved!r}, this run has {key}={asked!r}: "
                f"set it back, or start anew in another output folder"
            )


def _flat(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys, as a command line names them."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{group}{key}.") if isinstance(value, Mapping) else {f"{group}{key}": value}
    return flat


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """A file's bytes, or the names in a folder."""
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
