"""Rows into sequences, sequences into micro-batches, micro-batches onto ranks: pure index arithmetic.

A row whose prompt repeats, id by id, all of the trajectory's previous row is a continuation of it. Such rows form a
*chain*: one sequence, the tokens of its last row, in which every row's response stands in the context it had on its
own. A causal model gives it the same log-probs and the same gradient, for the tokens of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from trainer.data.tokens import Int64, TokenBatch, offsets

Chain = tuple[int, ...]
"""Rows of one trajectory in time order, each extending the one before; the last holds all their tokens."""

MAX_PADDING = 0.05
"""Largest share of a micro-batch's cells that may be padding; a longer mix of lengths is cut into more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Which chains each rank runs together, and what it costs.

    ranks: [world_size][number of micro-batches, the same on each rank][chains]; an empty micro-batch is a filler that
        a rank runs with zero weight, so that collective operations keep in step.
    real_tokens: tokens of all sequences. padded_tokens: cells B * L of all micro-batches, fillers included.
    row_tokens: what the rows would cost without chains.
    """

    ranks: tuple[tuple[tuple[Chain, ...], ...], ...]
    real_tokens: int
    padded_tokens: int
    row_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """One right-padded forward pass: B sequences of L cells, K rows, S response tokens.

    input_ids: int64 [B, L]; padding is id 0 and needs no mask: in causal attention nothing real looks at it.
    predict_at: int64 [S], flat cell (b * L + position) whose hidden state predicts the token.
    targets: int64 [S], the response tokens' ids.
    token_index: int64 [S], their places in a per-response-token array of the whole batch.
    segment: int64 [S], which of the K rows each belongs to.
    rows: int64 [K], rows of the batch. prompt_end_at: int64 [K], flat cell of each row's last prompt token.
    live: False for a filler, whose one token must weigh nothing.
    """

    input_ids: Int64
    predict_at: Int64
    targets: Int64
    token_index: Int64
    segment: Int64
    rows: Int64
    prompt_end_at: Int64
    live: bool


def find_chains(batch: TokenBatch, rows: Int64 | None = None) -> list[Chain]:
    """The given rows, or all, each in exactly one chain, trajectories in ascending order.

    A row left out does not break a chain: the next one repeats what it repeated.
    """
    rows = np.arange(batch.num_rows) if rows is None else rows
    starts, lens = batch.row_starts, batch.row_lens
    chains: list[list[int]] = []
    previous = -1
    for row in rows[np.lexsort((batch.time[rows], batch.trajectory[rows]))].tolist():
        if previous >= 0 and _extends(batch, starts, lens, row, previous):
            chains[-1].append(row)
        else:
            chains.append([row])
        previous = row
    return [tuple(chain) for chain in chains]


def _extends(batch: TokenBatch, starts: Int64, lens: Int64, row: int, previous: int) -> bool:
    """Whether the row's prompt begins with all tokens of the previous row of the same trajectory."""
    length = lens[previous]
    if batch.trajectory[row] != batch.trajectory[previous] or batch.prompt_lens[row] < length:
        return False
    here, there = starts[row], starts[previous]
    return np.array_equal(batch.tokens[here : here + length], batch.tokens[there : there + length])


def split_by_trajectory(batch: TokenBatch, chains: Sequence[Chain], *, parts: int, seed: int) -> list[list[Chain]]:
    """The chains in `parts` disjoint, non-empty minibatches: trajectories whole, tokens balanced, order from the seed.

    Each trajectory, in random order, joins the part with the fewest tokens so far, so that parts differ by at most
    the longest trajectory. Raises ValueError for fewer trajectories than parts.
    """
    lens = batch.row_lens
    by_trajectory: dict[int, list[Chain]] = {}
    for chain in chains:
        by_trajectory.setdefault(int(batch.trajectory[chain[0]]), []).append(chain)
    if len(by_trajectory) < parts:
        raise ValueError(
            f"{len(by_trajectory)} trajectories cannot fill {parts} minibatches: "
            f"set optimizer_steps to at most {len(by_trajectory)}, or collect more"
        )
    order = np.random.default_rng(seed).permutation(sorted(by_trajectory))
    minibatches: list[list[Chain]] = [[] for _ in range(parts)]
    lightest = [(0, part) for part in range(parts)]
    for trajectory in order.tolist():
        tokens, part = lightest[0]
        minibatches[part].extend(by_trajectory[trajectory])
        added = sum(int(lens[chain[-1]]) for chain in by_trajectory[trajectory])
        heapreplace(lightest, (tokens + added, part))
    return minibatches


def pack_chains(batch: TokenBatch, chains: Sequence[Chain], *, token_budget: int, world_size: int) -> Packing:
    """Sequences sorted by length and cut into micro-batches of at most `token_budget` cells, dealt over the ranks.

    A sequence longer than the budget is a micro-batch of its own. At most MAX_PADDING of all cells is padding.
    Micro-batch k of every rank is about the same size, since ranks wait for each other in each of them.
    """
    lens = batch.row_lens
    micros = _cut(lens, sorted(chains, key=lambda chain: (-lens[chain[-1]], chain)), token_budget)
    micros = _fill_up(lens, micros, world_size)
    micros.sort(key=lambda micro: -_cells(lens, micro))
    ranks = _deal(lens, micros, world_size)
    return Packing(
        ranks=tuple(tuple(tuple(micro) for micro in rank) for rank in ranks),
        real_tokens=int(sum(lens[chain[-1]] for chain in chains)),
        padded_tokens=sum(_cells(lens, micro) for micro in micros),
        row_tokens=int(sum(lens[row] for chain in chains for row in chain)),
    )


def collate(batch: TokenBatch, chains: Sequence[Chain]) -> MicroBatch:
    """The arrays of one forward pass; no chains give the filler: two cells and one dead token."""
    if not chains:
        zero = np.zeros(1, dtype=np.int64)
        empty = np.zeros(0, dtype=np.int64)
        return MicroBatch(
            input_ids=np.zeros((1, 2), dtype=np.int64),
            predict_at=zero,
            targets=zero,
            token_index=zero,
            segment=zero,
            rows=empty,
            prompt_end_at=empty,
            live=False,
        )
    starts, lens = batch.row_starts, batch.row_lens
    width = int(max(lens[chain[-1]] for chain in chains))
    input_ids = np.zeros((len(chains), width), dtype=np.int64)  # [B, L]
    for line, chain in enumerate(chains):
        last = chain[-1]
        input_ids[line, : lens[last]] = batch.tokens[starts[last] : starts[last + 1]]
    rows = np.array([row for chain in chains for row in chain], dtype=np.int64)  # [K]
    lines = np.repeat(np.arange(len(chains)), [len(chain) for chain in chains])  # [K]
    prompt_end_at = lines * width + batch.prompt_lens[rows] - 1  # [K]
    response_lens = batch.response_lens[rows]
    within = np.arange(int(response_lens.sum())) - np.repeat(offsets(response_lens)[:-1], response_lens)  # [S]
    predict_at = np.repeat(prompt_end_at, response_lens) + within
    return MicroBatch(
        input_ids=input_ids,
        predict_at=predict_at,
        targets=input_ids.reshape(-1)[predict_at + 1],
        token_index=batch.response_index(rows),
        segment=np.repeat(np.arange(len(rows)), response_lens),
        rows=rows,
        prompt_end_at=prompt_end_at,
        live=True,
    )


def _cut(lens: Int64, chains: Sequence[Chain], token_budget: int) -> list[list[Chain]]:
    """Cut chains, longest first, where the budget or the padding limit would be passed."""
    micros: list[list[Chain]] = []
    width = real = 0
    for chain in chains:
        length = int(lens[chain[-1]])
        cells = width * (len(micros[-1]) + 1) if micros else 0
        if micros and cells <= token_budget and cells - real - length <= MAX_PADDING * cells:
            micros[-1].append(chain)
            real += length
        else:
            micros.append([chain])
            width = real = length
    return micros


def _fill_up(lens: Int64, micros: list[list[Chain]], world_size: int) -> list[list[Chain]]:
    """A multiple of `world_size` micro-batches: halve the largest that can be halved, then add fillers."""
    micros = list(micros)
    while len(micros) % world_size and any(len(micro) > 1 for micro in micros):
        largest = max((micro for micro in micros if len(micro) > 1), key=lambda micro: _cells(lens, micro))
        micros.remove(largest)
        middle = len(largest) // 2
        micros += [largest[:middle], largest[middle:]]
    return micros + [[] for _ in range(-len(micros) % world_size)]


def _deal(lens: Int64, micros: Sequence[list[Chain]], world_size: int) -> list[list[list[Chain]]]:
    """Micro-batches, largest first, `world_size` at a time; in each deal the largest goes to the rank with least."""
    ranks: list[list[list[Chain]]] = [[] for _ in range(world_size)]
    cells = [0] * world_size
    for first in range(0, len(micros), world_size):
        waiting = sorted(range(world_size), key=lambda rank: cells[rank])
        for rank, micro in zip(waiting, micros[first : first + world_size], strict=True):
            ranks[rank].append(micro)
            cells[rank] += _cells(lens, micro)
    return ranks


def _cells(lens: Int64, micro: Sequence[Chain]) -> int:
    """B * L of a micro-batch, two for a filler."""
    return len(micro) * max(int(lens[chain[-1]]) for chain in micro) if micro else 2
