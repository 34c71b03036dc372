"""Hidden states of recorded prompts, read again from weights on disk: for a layer that the run did not keep."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.tokens import TokenBatch
from trainer.learner.load import load_model
from trainer.learner.packing import collate, find_chains, pack_chains
from trainer.learner.policy import PolicyModule

TOKEN_BUDGET = 8192
"""Token cells of one forward pass."""


def hidden_states(model: Path, batch: TokenBatch, layer: int) -> NDArray[np.float32]:
    """float32 [N, D] at each row's last prompt token, as the learner's scoring pass reads them.

    Raises ValueError for a layer that the model does not have, and for token ids beyond its vocabulary.
    """
    policy = _policy(model)
    vocabulary = policy.head.weight.shape[0]
    if int(batch.tokens.max()) >= vocabulary:
        raise ValueError(f"token {int(batch.tokens.max())} is beyond the vocabulary of {vocabulary} of {model}")
    states: NDArray[np.float32] | None = None
    (micros,) = pack_chains(batch, find_chains(batch), token_budget=TOKEN_BUDGET, world_size=1).ranks
    for micro in (collate(batch, chains) for chains in micros):
        with torch.no_grad():
            output = policy(
                *(torch.from_numpy(ids) for ids in (micro.input_ids, micro.predict_at[:1], micro.targets[:1])),
                layer=layer,
                embed_at=torch.from_numpy(micro.prompt_end_at),
            )
        vectors = output.hidden.float().numpy()
        if states is None:
            states = np.empty((batch.num_rows, vectors.shape[1]), np.float32)
        states[micro.rows] = vectors
    assert states is not None  # a TokenBatch has rows
    return states


@cache
def _policy(model: Path) -> PolicyModule:
    return PolicyModule(load_model(str(model), torch.float32)).eval()
