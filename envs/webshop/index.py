"""The shop's search: BM25 as Lucene scores it, over memory-mapped postings.

Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with Lucene's idf, Lucene's one-byte document
lengths, and Anserini's k1 and b.
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
_SLACK = np.float32(1 - 1e-4)  # more than the error of a single-precision sum


class IndexBuilder:
    """Takes documents one by one, then writes the files that `Index` maps: 8 bytes per document and distinct term."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._columns = array("i")
        self._counts = array("i")
        self._starts = array("q", [0])
        self._lengths = array("i")

    def add(self, text: str) -> None:
        """Add the next document."""
        words = terms(text)
        for term, count in Counter(words).items():
            self._columns.append(self._numbers.setdefault(term, len(self._numbers)))
            self._counts.append(count)
        self._starts.append(len(self._columns))
        self._lengths.append(len(words))

    def write(self, folder: Path) -> None:
        """Write the files. Terms are sorted by their UTF-8 bytes."""
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
    """Write the weight of each posting, in the new order of the terms:

    weight = idf x tf / (tf + k1 (1 - b + b dl / avgdl))
    """
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
        postings, counts = columns.indices[old], columns.data[old]
        documents[new] = postings
        weights[new] = idf[place] * counts / (counts + floors[postings])
    np.save(folder / "starts.npy", starts)


def _mapped(path: Path, dtype: type, size: int) -> NDArray[Any]:
    """A new memory-mapped .npy file."""
    # numpy has no type for it
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(size,))  # pyright: ignore


def _stored_length(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """A length as Lucene's norm stores it: exact below 24; of the excess above 24, the four leading bits."""
    above = np.maximum(lengths - _EXACT_LENGTHS, 0)
    shift = np.maximum(np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) - 3, 0)
    return np.where(lengths < _EXACT_LENGTHS, lengths, _EXACT_LENGTHS + ((above >> shift) << shift))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """The postings of every term, memory-mapped: all processes of a host share one copy."""

    documents: NDArray[np.int32]
    """int32 [postings]. Document numbers by term, ascending within a term."""

    weights: NDArray[np.float32]
    """float32 [postings]. The BM25 weight of each posting."""

    starts: NDArray[np.int64]
    """int64 [terms + 1]. Where the postings of each term start."""

    term_ends: memoryview
    """int64 [terms + 1]. Where each term ends in `text`; the first entry is 0."""

    text: mmap.mmap
    """All terms, concatenated, as UTF-8."""

    size: int
    """The number of documents."""

    def search(self, query: str, *, most: int, name: Callable[[int], str]) -> list[int]:
        """At most `most` documents that share a term with the query, best first; `name` breaks ties.

        A single-precision sum over all documents finds the few candidates. Their scores are then summed in double
        precision, as Lucene does.
        """
        query_terms = [(self._slice(term), count) for term, count in Counter(terms(query)).items()]
        query_terms = [(where, count) for where, count in query_terms if where is not None]
        if not query_terms:
            return []
        near = _near(self._rough(query_terms), most)  # [candidates]
        scores = self._exact(query_terms, near)
        best = sorted(zip(near.tolist(), scores.tolist(), strict=True), key=lambda hit: (-hit[1], name(hit[0])))
        return [document for document, _ in best[:most]]

    def _slice(self, term: str) -> slice | None:
        """The postings of a term; None for a term that no document has."""
        key = _bytes(term)
        place = bisect_left(range(len(self.term_ends) - 1), key, key=self._term)
        if place == len(self.term_ends) - 1 or self._term(place) != key:
            return None
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def _term(self, place: int) -> bytes:
        return self.text[self.term_ends[place] : self.term_ends[place + 1]]

    def _rough(self, query_terms: Sequence[tuple[slice, int]]) -> NDArray[np.float32]:
        """float32 [documents]. Scores in single precision: a sparse matrix of the query's terms times their counts."""
        ends = np.cumsum([0, *(where.stop - where.start for where, _ in query_terms)])
        columns: Any = csc_array(
            (
                np.concatenate([self.weights[where] for where, _ in query_terms]),
                np.concatenate([self.documents[where] for where, _ in query_terms]),
                ends.astype(np.int32),
            ),
            shape=(self.size, len(query_terms)),
        )
        return columns @ np.array([count for _, count in query_terms], dtype=np.float32)

    def _exact(self, query_terms: Sequence[tuple[slice, int]], near: NDArray[np.intp]) -> NDArray[np.float32]:
        """float32 [candidates]. Single-precision terms, summed in double precision and rounded once, as in Lucene."""
        total = np.zeros(len(near))
        for where, count in query_terms:
            documents = self.documents[where]
            place = np.minimum(np.searchsorted(documents, near), len(documents) - 1)
            weight = self.weights[where][place] * np.float32(count)
            total += np.where(documents[place] == near, weight, np.float32(0))
        return total.astype(np.float32)


def _bytes(term: str) -> bytes:
    return term.encode(errors="surrogatepass")  # scraped text may hold half a character


def _near(scores: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """All documents that may be among the `most` best.

    At least `most` documents reach the `most`-th largest maximum of a block, so no document below it can qualify.
    """
    blocks = np.maximum.reduceat(scores, np.arange(0, len(scores), _BLOCK))
    least = np.partition(blocks, -most)[-most] if len(blocks) > most else np.float32(0)
    near = np.flatnonzero(scores >= least * _SLACK) if least > 0 else np.flatnonzero(scores)
    if len(near) > most:
        threshold = np.partition(scores[near], -most)[-most]
        near = near[scores[near] >= threshold * _SLACK]
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
    """A memory-mapped file: its bytes stay on disk until they are read."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
