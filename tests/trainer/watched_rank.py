"""A learner rank that also tells its gradient and its optimizer's state."""

from typing import Any, cast

import torch
from deepspeed.utils import groups, safe_get_full_fp32_param, safe_get_full_grad, safe_get_full_optimizer_state
from torch import Tensor
from torch.distributed import distributed_c10d

from estimators import Unit
from trainer.learner.deepspeed_rank import LearnerRank


class WatchedRank(LearnerRank):
    """Keeps the gradient that the last optimizer step was about to use."""

    summed: dict[str, Tensor]

    def join(self, host: str, port: int, layer: int | None, critic: Unit | None = None) -> None:
        super().join(host, port, layer, critic)
        step = self.engine.step

        def watched() -> None:
            gradients = {name: cast(Tensor, safe_get_full_grad(one)) for name, one in self.trained.items()}
            self.summed = {name: gradient.detach().float().clone() for name, gradient in gradients.items()}
            step()

        self.engine.step = watched  # pyright: ignore[reportAttributeAccessIssue]

    def gradient(self) -> dict[str, Tensor]:
        """The gradient, summed over micro-batches and ranks. float32, by parameter name"""
        return self.summed

    def moments(self) -> dict[str, list[Tensor]]:
        """float32 weight, first and second moment by parameter name, gathered from all ranks."""
        optimizer: Any = self.engine.optimizer
        if self.config.zero_stage < 3:  # DeepSpeed linked them after the step of the first group, and not again
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()
        return {
            name: [
                cast(Tensor, state).detach().clone()
                for state in (
                    safe_get_full_fp32_param(one),
                    *(safe_get_full_optimizer_state(one, key) for key in ("exp_avg", "exp_avg_sq")),
                )
            ]
            for name, one in self.trained.items()
        }

    def patience_s(self) -> float:
        """How long a collective of the ranks waits for all of them, whichever group it is in."""
        several: list[Any] = [distributed_c10d._get_default_group(), groups._get_data_parallel_group()]
        (patience,) = {group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in several}
        return patience

    def optimizer_settings(self) -> tuple[list[float], set[float]]:
        """The weight decay of each parameter group, and the steps that the optimizer has counted."""
        optimizer: Any = self.engine.optimizer
        steps = {float(state["step"]) for state in optimizer.optimizer.state.values()}
        return [group["weight_decay"] for group in optimizer.param_groups], steps
