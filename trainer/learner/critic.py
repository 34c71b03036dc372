"""The critic: a linear head on the policy's last hidden state that says what a turn, or a token, is worth."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from estimators import Unit
from trainer.config.learner import CriticConfig
from trainer.data.tokens import Int64
from trainer.learner.packing import MicroBatch


class Critic(nn.Module):
    """V = w . h / D + b in float32, from the hidden state h [D] of a prompt's last token at root mean square 1.

    A critic of tokens reads besides it those of the response's tokens but the last: V before each of them.

    It is whole on every rank and lies beside DeepSpeed's engine: no ZeRO stage divides it, its gradient is not clipped
    with the policy's, and no publish and no export holds it. w and b begin at 0. Over D, a step of Adam moves V alike
    at any width.
    """

    def __init__(self, width: int, config: CriticConfig, device: torch.device, unit: Unit = "turn") -> None:
        """unit: what it gives values to."""
        super().__init__()
        self.config, self.unit = config, unit
        self.weight = nn.Parameter(torch.zeros(width, device=device))
        self.bias = nn.Parameter(torch.zeros(1, device=device))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=config.learning_rate)

    def forward(self, states: Tensor) -> Tensor:
        """What the states are worth, in units of reward. [K, D] in the model's dtype -> float32 [K]

        `body_coef` of the gradient goes on into the states.
        """
        fixed = states.detach().float()
        if self.config.body_coef > 0:
            fixed = fixed + self.config.body_coef * (states.float() - fixed)  # the same numbers
        unit = F.rms_norm(fixed, fixed.shape[-1:], eps=1e-6)
        return unit @ self.weight / len(self.weight) + self.bias

    def cells(self, micro: MicroBatch) -> Int64:
        """The flat cells whose states it reads. [K], of tokens [S]"""
        return micro.predict_at if self.unit == "token" else micro.prompt_end_at

    def index(self, micro: MicroBatch) -> Int64:
        """Where their values stand in a column of `CriticColumns`. As `cells`"""
        return micro.token_index if self.unit == "token" else micro.rows

    def step(self, *, taken: bool) -> None:
        """An optimizer step on the mean of the ranks' gradients, if the policy took one; the gradient goes.

        Every rank does the same, since they share the sums. Raises FloatingPointError for a gradient that is not
        finite.
        """
        if taken:
            for parameter in self.parameters():
                assert parameter.grad is not None  # every micro-batch asks for values, a filler too
                distributed.all_reduce(parameter.grad)
                parameter.grad /= distributed.get_world_size()
                if not parameter.grad.isfinite().all():
                    raise FloatingPointError(
                        "the gradient of the critic is not finite: lower learner.critic.learning_rate, or the rewards"
                    )
            self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on exactly from here."""
        return {"head": self.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, at the config's own learning rate: a fork has another."""
        self.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate
