"""A learner rank that also tells its gradient, for tests of the optimizer step."""

from typing import cast

from deepspeed.utils import safe_get_full_grad
from torch import Tensor

from trainer.learner.deepspeed_rank import LearnerRank


class WatchedRank(LearnerRank):
    """Keeps the gradient that the last optimizer step was about to use."""

    summed: dict[str, Tensor]

    def join(self, host: str, port: int, layer: int | None) -> None:
        super().join(host, port, layer)
        step = self.engine.step

        def watched() -> None:
            gradients = {name: cast(Tensor, safe_get_full_grad(one)) for name, one in self.trained.items()}
            self.summed = {name: gradient.detach().float().clone() for name, gradient in gradients.items()}
            step()

        self.engine.step = watched  # pyright: ignore[reportAttributeAccessIssue]

    def gradient(self) -> dict[str, Tensor]:
        """The gradient, summed over micro-batches and ranks. float32, by parameter name"""
        return self.summed
