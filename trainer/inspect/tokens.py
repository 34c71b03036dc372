"""Response tokens as the tokenizer of the run spells them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from rollout.types import Step
from trainer.inspect.records import TokenRecord
from trainer.inspect.shorter import shorter

Spell = Callable[[Sequence[int]], list[str]]
"""Token ids as texts, one for each."""


def speller(model: Path | None) -> Spell:
    """How tokens are spelled: by the tokenizer in the folder `model`; without one, as their ids."""
    if model is None:
        return lambda ids: [f"#{number}" for number in ids]
    tokenizer: Any = Tokenizer.from_file(str(model / "tokenizer.json"))
    return lambda ids: [str(tokenizer.decode([number], skip_special_tokens=False)) for number in ids]


def token_record(
    steps: Sequence[Step], learner: Sequence[np.ndarray] | None, spell: Spell, place: Callable[[str], int]
) -> TokenRecord | None:
    """The tokens of the rows `steps`; None where none of them has any.

    learner: log-probs of each row's tokens, None where they were not recorded. place: where a text stands.
    """
    if not any(len(step.completion.token_ids) for step in steps):
        return None
    return TokenRecord(
        piece=[[place(piece) for piece in spell(step.completion.token_ids.tolist())] for step in steps],
        engine=[shorter(step.completion.logprobs) for step in steps],
        gap=None if learner is None else _gaps(steps, learner),
    )


def _gaps(steps: Sequence[Step], learner: Sequence[np.ndarray]) -> list[list[float]]:
    """What the learner's log-probs are more than the engine's, before anything is rounded."""
    return [
        shorter(values.astype(np.float64) - step.completion.logprobs)
        for step, values in zip(steps, learner, strict=True)
    ]
