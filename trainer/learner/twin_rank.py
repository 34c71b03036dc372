"""A learner rank with a twin: a copy of the policy that a scorer trains, with an optimizer of its own."""

from pathlib import Path
from typing import Any

from estimators import Unit
from trainer.checkpoint import TWIN
from trainer.config.learner import LearnerConfig
from trainer.learner.deepspeed_rank import LearnerRank
from trainer.learner.messages import CheckpointMismatch


class TwinRank(LearnerRank):
    """A `LearnerRank` of the policy that holds another one, of the twin. `of_twin` calls that one."""

    def __init__(self, config: LearnerConfig, rank: int, model_folder: str, twin: LearnerConfig) -> None:
        super().__init__(config, rank, model_folder)
        self.twin = LearnerRank(twin, rank, model_folder)
        self.twin.writer = self.writer  # a checkpoint is one folder

    def of_twin(self, method: str, *arguments: Any) -> Any:
        """Call a method of the twin's rank."""
        return getattr(self.twin, method)(*arguments)

    def join(self, host: str, port: int, layer: int | None, critic: Unit | None = None) -> None:
        super().join(host, port, layer, critic)
        self.twin.join(host, port, None)

    def give_up(self) -> None:
        self.twin.give_up()
        super().give_up()

    def add_states(self, folder: Path) -> None:
        super().add_states(folder)
        self.twin.add_states(folder / TWIN)

    def load(self, folder: str, universal: str) -> int:
        """As `LearnerRank.load`. Raises CheckpointMismatch for a checkpoint without a twin too."""
        own = Path(folder) / TWIN
        if not own.is_dir():
            raise CheckpointMismatch(
                f"checkpoint {folder} holds no copy of the policy that a scorer trains: it is of a run without such a "
                "scorer, so leave the scorer out, or start anew from its exported model"
            )
        self.twin.load(str(own), f"{universal}.twin")
        return super().load(folder, universal)
