"""Random vectors that stand for a model's hidden states in the generated worlds."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

WIDTH = 48
"""Entries of a vector."""


def unit_vectors(count: int, rng: np.random.Generator) -> Vectors:
    """Vectors of length 1 in random directions, [count, WIDTH]."""
    normal = rng.standard_normal((count, WIDTH), dtype=np.float32)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def with_noise(vectors: Vectors, length: float, rng: np.random.Generator) -> Vectors:
    """Each vector [N, D] plus a vector of this `length` in a random direction; unchanged where `length` is 0."""
    if length == 0.0:
        return vectors
    noise = rng.standard_normal(vectors.shape, dtype=np.float32)
    noise *= np.float32(length) / np.linalg.norm(noise, axis=1, keepdims=True)
    return vectors + noise
