"""The search of the shop: BM25 as Lucene scores it, over memory-mapped postings.

Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with Lucene's idf, its lengths of one byte and
Anserini's k1 and b.
"""

import json
import mmap
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array  # pyright: ignore[reportMissingTypeStubs]

from envs.webshop.analyzer import terms

K1, B = 0.9, 0.4
_EXACT_LENGTHS = 24
_BLOCK = 256
_SLACK = np.float32(1 - 1e-4)  # single-precision sums may be off by less than this


class IndexBuilder:
    """Takes documents one by one, then writes the files that `Index` maps: 8 bytes for each distinct term of each."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._columns = array("i")
        self._counts = array("i")
        self._starts = array("q", [0])
        self._lengths = array("i")

    def add(self, text: str) -> None:
        """The next document."""
        found = terms(text)
        for term, count in Counter(found).items():
            self._columns.append(self._numbers.setdefault(term, len(self._numbers)))
            self._counts.append(count)
        self._starts.append(len(self._columns))
        self._lengths.append(len(found))

    def write(self, folder: Path) -> None:
        """Write the weights, term by term in the order of their text."""
        lengths = np.frombuffer(self._lengths, np.int32).astype(np.int64)  # [documents]
        matrix = csr_array(
            (
                np.frombuffer(self._counts, np.int32).astype(np.float32),
                np.frombuffer(self._columns, np.int32),
                np.frombuffer(self._starts, np.int64),
            ),
            shape=(len(lengths), len(self._numbers)),
        )
        columns = csc_array(matrix)
        del matrix
        order = sorted(self._numbers, key=_bytes)
        numbers = np.array([self._numbers[term] for term in order], dtype=np.int64)
        _save_weights(folder, columns, numbers, lengths)
        ends = np.cumsum([0, *(len(_bytes(term)) for term in order)])
        np.save(folder / "term_ends.npy", ends.astype(np.int64))
        (folder / "terms.bin").write_bytes(_bytes("".join(order)))
        (folder / "index.json").write_text(json.dumps({"documents": len(lengths)}))


def _save_weights(folder: Path, columns: Any, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """idf x tf / (tf + k1 (1 - b + b dl / avgdl)) for each posting, in the new order of the terms."""
    indexed = int((lengths > 0).sum())
    average = lengths.sum() / max(indexed, 1)
    floors = (K1 * (1 - B + B * _stored_length(lengths) / average)).astype(np.float32)  # [documents]
    sizes = np.diff(columns.indptr)[numbers]  # [terms], documents that have the term
    idf = np.log1p((indexed - sizes + 0.5) / (sizes + 0.5))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    documents = _mapped(folder / "documents.npy", np.int32, int(starts[-1]))
    weights = _mapped(folder / "weights.npy", np.float32, int(starts[-1]))
    for place, number in enumerate(numbers):
        old = slice(columns.indptr[number], columns.indptr[number + 1])
        new = slice(starts[place], starts[place + 1])
        held, counts = columns.indices[old], columns.data[old]
        documents[new] = held
        weights[new] = idf[place] * counts / (counts + floors[held])
    np.save(folder / "starts.npy", starts)


def _mapped(path: Path, dtype: type, size: int) -> NDArray[Any]:
    """A new .npy file that is written through memory."""
    # numpy leaves it untyped
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(size,))  # pyright: ignore


def _stored_length(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """A length as Lucene's norm keeps it: exact below 24, then four significant bits of what is above."""
    above = np.maximum(lengths - _EXACT_LENGTHS, 0)
    shift = np.maximum(np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) - 3, 0)
    return np.where(lengths < _EXACT_LENGTHS, lengths, _EXACT_LENGTHS + ((above >> shift) << shift))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """Postings of every term, memory-mapped: all processes of a host share one copy.

    documents, weights: [postings], by term, ascending within a term. starts: [terms + 1]. term_ends: [terms + 1],
    where each term ends in `text`. size: number of documents.
    """

    documents: NDArray[np.int32]
    weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    term_ends: memoryview
    text: mmap.mmap
    size: int

    def search(self, query: str, *, most: int, name: Callable[[int], str]) -> list[int]:
        """The best documents, best first; equal scores by name. Only documents that have a term of the query.

        Scores are summed in single precision over all documents to find the few that matter, whose sums are then made
        in double precision, as Lucene makes them.
        """
        asked = [(self._slice(term), count) for term, count in Counter(terms(query)).items()]
        asked = [(where, count) for where, count in asked if where is not None]
        if not asked:
            return []
        near = _near(self._rough(asked), most)  # [candidates]
        scores = self._exact(asked, near)
        best = sorted(zip(near.tolist(), scores.tolist(), strict=True), key=lambda hit: (-hit[1], name(hit[0])))
        return [document for document, _ in best[:most]]

    def _slice(self, term: str) -> slice | None:
        """Where the postings of a term are; None for a term of no document."""
        wanted = _bytes(term)
        place = bisect_left(range(len(self.term_ends) - 1), wanted, key=self._term)
        if place == len(self.term_ends) - 1 or self._term(place) != wanted:
            return None
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def _term(self, place: int) -> bytes:
        return self.text[self.term_ends[place] : self.term_ends[place + 1]]

    def _rough(self, asked: Sequence[tuple[slice, int]]) -> NDArray[np.float32]:
        """[documents] in single precision: one pass of a sparse matrix of the asked columns over the counts."""
        ends = np.cumsum([0, *(where.stop - where.start for where, _ in asked)])
        columns: Any = csc_array(
            (
                np.concatenate([self.weights[where] for where, _ in asked]),
                np.concatenate([self.documents[where] for where, _ in asked]),
                ends.astype(np.int32),
            ),
            shape=(self.size, len(asked)),
        )
        return columns @ np.array([count for _, count in asked], dtype=np.float32)

    def _exact(self, asked: Sequence[tuple[slice, int]], near: NDArray[np.intp]) -> NDArray[np.float32]:
        """[candidates]: the sum of single-precision terms in double precision, rounded once, as Lucene's."""
        total = np.zeros(len(near))
        for where, count in asked:
            held = self.documents[where]
            place = np.minimum(np.searchsorted(held, near), len(held) - 1)
            weight = self.weights[where][place] * np.float32(count)
            total += np.where(held[place] == near, weight, np.float32(0))
        return total.astype(np.float32)


def _bytes(term: str) -> bytes:
    return term.encode(errors="surrogatepass")  # scraped text may hold half a character


def _near(scores: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """All documents that may be among the `most` best.

    The `most`-th best of the blocks' maxima is a score that `most` documents reach: nothing below it matters.
    """
    blocks = np.maximum.reduceat(scores, np.arange(0, len(scores), _BLOCK))
    least = np.partition(blocks, -most)[-most] if len(blocks) > most else np.float32(0)
    near = np.flatnonzero(scores >= least * _SLACK) if least > 0 else np.flatnonzero(scores)
    if len(near) > most:
        reached = np.partition(scores[near], -most)[-most]
        near = near[scores[near] >= reached * _SLACK]
    return near


def open_index(folder: Path) -> Index:
    """Map what `IndexBuilder.write` wrote."""
    return Index(
        documents=np.load(folder / "documents.npy", mmap_mode="r"),
        weights=np.load(folder / "weights.npy", mmap_mode="r"),
        starts=np.load(folder / "starts.npy", mmap_mode="r"),
        term_ends=memoryview(np.load(folder / "term_ends.npy", mmap_mode="r")),  # its items are plain ints, and fast
        text=map_bytes(folder / "terms.bin"),
        size=json.loads((folder / "index.json").read_text())["documents"],
    )


def map_bytes(path: Path) -> mmap.mmap:
    """A file as bytes that stay on disk until they are looked at."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
