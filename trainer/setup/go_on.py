"""How a user goes on with a command that was ended or failed."""

from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.config.commands import EvaluateConfig, QuickstartConfig, TrainConfig


def how_to_go_on(config: Any) -> str:
    """The end of a line about a command that did not finish. config: the command's."""
    if isinstance(config, QuickstartConfig):
        return training_of_quickstart(Path(config.output)) or f"remove {config.output} and start it again"
    if isinstance(config, EvaluateConfig):
        return f"go on with the same command and resume=auto output={config.output}"
    if not isinstance(config, TrainConfig):
        kept = getattr(config, "resume", None) == "never"  # "auto" goes on by itself
        return f"go on with the same command and resume=auto output={config.output}" if kept else "start it again"
    tracker = Path(config.output) / checkpoint.FOLDER / checkpoint.TRACKER
    if not tracker.is_file():
        return "it has no checkpoint yet: start it again"
    return f"go on after {tracker.read_text().strip()} with the same command and resume=auto output={config.output}"


def training_of_quickstart(folder: Path) -> str | None:
    """How the training of an unfinished quickstart goes on; None without a warm start, and for a finished one."""
    model = folder / "warmstart" / "model"
    if not (model / "config.json").is_file() or (folder / "report.html").exists():
        return None
    return (
        f"go on with its training: stepcredit train experiment=tiny model.source={model} output={folder / 'train'} "
        "resume=auto, and the settings that you gave the quickstart"
    )
