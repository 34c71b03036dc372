"""The rows of all blocks of a measurement, one block after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from trainer.lab.worlds.tabular import Ints, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampledRows:
    """N rows drawn from a world, block after block."""

    group: Ints
    """int64 [N]. Numbered through all blocks; those of block b begin at b * per_block."""

    task: Ints
    """int64 [N]."""

    turn: Ints
    """int64 [N], from 0."""

    state: Ints
    """int64 [N]."""

    action: Ints
    """int64 [N]. The action's slot."""

    per_block: int
    """Groups in a block."""

    @classmethod
    def of(cls, blocks: Sequence[Sample], per_block: int) -> Self:
        columns = {
            name: np.concatenate([getattr(block, name) for block in blocks])
            for name in ("task", "turn", "state", "action")
        }
        group = np.concatenate([block.batch.group + number * per_block for number, block in enumerate(blocks)])
        return cls(group=group, per_block=per_block, **columns)
