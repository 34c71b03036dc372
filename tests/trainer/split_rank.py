"""A learner rank that keeps no parameter whole under ZeRO-3, as none of a large model's matrices is kept."""

from typing import Any

from torch import nn

from estimators import Unit
from trainer.config.learner import LearnerConfig
from trainer.learner import deepspeed_rank
from trainer.learner.deepspeed_rank import LearnerRank, engine_config


class SplitRank(LearnerRank):
    """DeepSpeed leaves parameters of at most 100,000 numbers whole, which are all of a test's model."""

    def join(self, host: str, port: int, layer: int | None, critic: Unit | None = None) -> None:
        def splitting(config: LearnerConfig, policy: nn.Module) -> dict[str, Any]:
            made = engine_config(config, policy)
            return made | {"zero_optimization": made["zero_optimization"] | {"stage3_param_persistence_threshold": 0}}

        deepspeed_rank.engine_config = splitting
        super().join(host, port, layer, critic)

    def kept_whole(self) -> int:
        """How many parameters are whole on this rank between two passes."""
        return sum(one.ds_tensor.numel() == one.ds_numel or one.ds_persist for one in self.model.parameters())  # pyright: ignore[reportAttributeAccessIssue]
