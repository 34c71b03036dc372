"""States grouped by the similarity of their texts, for an estimator with `similarity` (as the public GiGPO code)."""

import math
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

ROUNDING = 1e-9


def similar_codes(texts: Sequence[str], groups: Sequence[Hashable], threshold: float) -> NDArray[np.int64]:
    """A cluster code per row; similar texts of one group get the same code. [N]

    Greedy in the order of the rows: a row joins the first cluster of its group whose first text has a ratio of at
    least `threshold` to the row's text. If there is none, the row starts a new cluster. The ratio is difflib's, as in
    the public runs; it is not symmetric, and the row's text comes first. Each distinct text is compared once per group.
    """
    seeds: dict[Hashable, list[tuple[int, str, SequenceMatcher[str]]]] = {}
    code_of: dict[tuple[Hashable, str], int] = {}
    count = 0
    for group, text in zip(groups, texts, strict=True):
        if (group, text) in code_of:
            continue
        clusters = seeds.setdefault(group, [])
        code = next((code for code, first, matcher in clusters if _near(first, matcher, text, threshold)), None)
        if code is None:
            code, count = count, count + 1
            clusters.append((code, text, SequenceMatcher(None, "", text)))
        code_of[group, text] = code
    return np.array([code_of[pair] for pair in zip(groups, texts, strict=True)], np.int64)


def _near(first: str, matcher: "SequenceMatcher[str]", text: str, threshold: float) -> bool:
    """Whether the ratio to a cluster's first text reaches `threshold`.

    First a bound that costs next to nothing: what the ratio counts as equal is a common subsequence, and rapidfuzz
    knows the longest.
    """
    needed = math.ceil((threshold - ROUNDING) * (len(first) + len(text)) / 2)
    if LCSseq.similarity(first, text, score_cutoff=needed) < needed:
        return False
    matcher.set_seq1(text)
    return matcher.ratio() >= threshold
