"""Observations grouped by how alike their texts are, for an estimator with `similarity` (as public GiGPO does)."""

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray


def similar_codes(texts: Sequence[str], groups: Sequence[Hashable], threshold: float) -> NDArray[np.int64]:
    """Code [N] of the first cluster of the row's group whose first text has a ratio of at least `threshold` to it.

    Greedy in the order of the rows; where no cluster is near enough the row seeds one. The ratio is difflib's, which
    public runs were made with: it is not symmetric, the row's text comes first. Each text of a group is compared once.
    """
    seeds: dict[Hashable, list[tuple[int, SequenceMatcher[str]]]] = {}
    known: dict[tuple[Hashable, str], int] = {}
    count = 0
    for group, text in zip(groups, texts, strict=True):
        if (group, text) in known:
            continue
        clusters = seeds.setdefault(group, [])
        code = next((code for code, seed in clusters if _near(seed, text, threshold)), None)
        if code is None:
            code, count = count, count + 1
            clusters.append((code, SequenceMatcher(None, "", text)))
        known[group, text] = code
    return np.array([known[pair] for pair in zip(groups, texts, strict=True)], np.int64)


def _near(seed: "SequenceMatcher[str]", text: str, threshold: float) -> bool:
    """Whether the ratio reaches `threshold`; the two cheap upper bounds of it are asked first."""
    seed.set_seq1(text)
    return all(bound() >= threshold for bound in (seed.real_quick_ratio, seed.quick_ratio, seed.ratio))
