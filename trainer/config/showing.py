"""The configs of commands that show something and run nothing."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.build import ConfigError
from trainer.config.settings import EnvConfig, TaskCount


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelConfig:
    """Panels to print or to compare: which tasks a number is of."""

    env: EnvConfig
    """The world."""

    split: tuple[str, ...] | str | None = None
    """Splits whose tasks are listed; null takes env.train_split and env.validation_split, with compare the file's."""

    tasks: TaskCount = None
    """Number of different tasks of each split, chosen as `evaluate` and a validation choose them; null takes all."""

    compare: str | None = None
    """File of panels, from `stepcredit panel --json` or a run's panel.json, with which these are compared. The exit
    code is 1 where they differ."""

    json: bool = False
    """Whether the panels are printed whole, as one line of JSON; `--json` is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorConfig:
    """An examination of this machine."""

    gpu: bool = False
    """Whether everything that only a GPU can show is run on one card, in some ten minutes; `--gpu` is the same."""

    only: Literal["publish"] | None = None
    """Which part of the proof is run: "publish" is the engine, the learner and their publishes; null runs all."""

    json: bool = False
    """Whether the findings are printed as one line of JSON instead of a table; `--json` is the same."""

    report: str = "outputs/doctor.jsonl"
    """File of the proof's figures, one JSON object for each of its parts."""

    def __post_init__(self) -> None:
        if self.only is not None and not self.gpu:
            raise ConfigError(
                f"only={self.only!r} without gpu=true, and there is no proof to take a part of: add gpu=true"
            )
