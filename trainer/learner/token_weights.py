"""The weight of each response token in an optimizer step. It contains the one global denominator of the loss."""

import numpy as np

from trainer.config.learner import Aggregation
from trainer.data.tokens import Bool, Float32


def token_weights(response_lens: np.ndarray, live: Bool, aggregation: Aggregation) -> Float32:
    """Weight of each response token in one optimizer step; all weights sum to 1. [N], bool [R] -> [R]

    "token"     1 / (live tokens of the step)                       2503.14476 eq. 8 (DAPO), the step as the group
    "sequence"  1 / (live tokens of the row * rows with any)        2402.03300 eq. 3 (GRPO)

    A token that is not live weighs 0. Raises ValueError if no token is live: 0 / 0 has no mean.
    """
    if not live.any():
        raise ValueError("no response token of this optimizer step is in the loss: leave such a step out")
    if aggregation == "token":
        return (live / live.sum()).astype(np.float32)
    segment = np.repeat(np.arange(len(response_lens)), response_lens)  # [R]
    live_lens = np.bincount(segment, weights=live, minlength=len(response_lens))  # [N]
    return (live / (np.maximum(live_lens, 1.0)[segment] * (live_lens > 0).sum())).astype(np.float32)
