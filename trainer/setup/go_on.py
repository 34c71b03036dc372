"""How a user goes on with a command that was ended or failed."""

from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.config.commands import EvaluateConfig, QuickstartConfig, TrainConfig


def how_to_go_on(config: Any) -> str:
    """The end of a line about a command that did not finish. config: the command's."""
    if isinstance(config, QuickstartConfig):
        return f"start it again with another output=..., or remove {config.output}"
    if isinstance(config, EvaluateConfig):
        return f"go on with the same command and resume=auto output={config.output}"
    if not isinstance(config, TrainConfig):
        return "start it again"
    tracker = Path(config.output) / checkpoint.FOLDER / checkpoint.TRACKER
    if not tracker.is_file():
        return "it has no checkpoint yet: start it again"
    return f"go on after {tracker.read_text().strip()} with the same command and resume=auto output={config.output}"
