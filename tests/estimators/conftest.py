"""Batches for the tests of estimators: written out (`rows`), or random with many ties (`random_columns`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from estimators import StepBatch

# No deadline: it would measure the machine, which other work may share.
settings.register_profile("estimators", deadline=None)
settings.load_profile("estimators")

Columns = dict[str, Any]


def rows(**columns: Any) -> StepBatch:
    """A batch of one group, every row a rollout of one step with reward 0, state 0 and action 0, unless given."""
    n = len(next(iter(columns.values())))
    defaults: Columns = {
        "group": np.zeros(n, np.int64),
        "trajectory": np.arange(n),
        "time": np.zeros(n, np.int64),
        "reward": np.zeros(n),
        "invalid": np.zeros(n, bool),
        "state": np.zeros(n, np.int64),
        "action": np.zeros(n, np.int64),
    }
    return StepBatch(**{**defaults, **columns})


def random_columns(seed: int, lengths: list[list[int]], *, num_states: int = 4) -> Columns:
    """Columns of one group per list and one rollout per length in it, shuffled; embeddings are one-hot states."""
    rng = np.random.default_rng(seed)
    flat = [(group, length) for group, of_group in enumerate(lengths) for length in of_group]
    ids = rng.permutation(1000)[: len(flat)]
    n = sum(length for _, length in flat)
    state = rng.integers(0, num_states, n)
    columns = {
        "group": np.concatenate([np.full(length, 10 + group) for group, length in flat]),
        "trajectory": np.repeat(ids, [length for _, length in flat]),
        "time": np.concatenate([np.arange(length) for _, length in flat]),
        "reward": rng.integers(0, 4, n) / 2.0,
        "invalid": rng.random(n) < 0.2,
        "state": state,
        "action": rng.integers(0, 3, n),
        "embedding": np.eye(num_states, dtype=np.float32)[state],
        "repair": np.zeros(n),
        "edited": np.zeros(n, bool),
        "values": state / 4.0,
        "milestone": np.concatenate([np.cumsum(rng.random(length) < 0.4) for _, length in flat]),
    }
    shuffle = rng.permutation(n)
    columns["switch"] = columns["milestone"] % 2 == 1  # drawn from what is there: no other column changes
    return {name: value[shuffle] for name, value in columns.items()}


@pytest.fixture(scope="session", name="rows")
def rows_fixture() -> Callable[..., StepBatch]:
    return rows


@pytest.fixture(scope="session", name="random_columns")
def random_columns_fixture() -> Callable[..., Columns]:
    return random_columns
