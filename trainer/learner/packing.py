"""Rows become sequences, sequences become micro-batches, micro-batches go to ranks: pure index arithmetic.

A row continues the previous row of its trajectory if its prompt begins with all of that row's token ids. Rows that
continue each other form a *chain*: one sequence with the tokens of the last row, in which every response has the same
context as in its own row. A causal model gives the same log-probs and gradients, at the cost of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from trainer.data.tokens import Int32, Int64, TokenBatch, offsets

Chain = tuple[int, ...]
"""Rows of one trajectory in time order. Each continues the row before; the last one contains all tokens."""

MAX_PADDING = 0.05
"""Largest share of cells that may be padding; sequences whose lengths differ more go to separate micro-batches."""
FILLER = 2
"""Cells of a micro-batch without chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Which chains each rank runs together, and what that costs."""

    ranks: tuple[tuple[tuple[Chain, ...], ...], ...]
    """[world_size][micro-batches, as many on each rank][chains]. An empty micro-batch is a filler: the rank runs it
    with zero weight, so that all ranks enter the same collective operations."""
    real_tokens: int
    """Tokens of all sequences."""
    padded_tokens: int
    """Cells of all micro-batches, padding and fillers included."""
    row_tokens: int
    """Tokens of all rows: what they would cost without chains."""
    squared_tokens: int
    """The sum over the sequences of the square of their tokens, which attention takes."""
    scored_tokens: int
    """Response tokens, at which alone the head is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """One forward pass: B sequences with K rows and S response tokens in them.

    Padded, each sequence has a line of its own, as long as the longest; packed, they share one line. A *flat cell* is
    an index into the flattened lines.
    """

    input_ids: Int64
    """int64 [B, L] padded, [1, T] packed. Padding is id 0 and needs no mask: in causal attention no real token sees
    it."""
    bounds: Int32 | None
    """int32 [B + 1]. The flat cell at which each packed sequence begins, and the end; None if they are padded."""
    longest: int
    """Tokens of the longest sequence."""
    predict_at: Int64
    """int64 [S]. Flat cell whose hidden state predicts the token."""
    targets: Int64
    """int64 [S]. Ids of the response tokens."""
    token_index: Int64
    """int64 [S]. Where the tokens stand in an array per response token of the whole batch."""
    segment: Int64
    """int64 [S]. Which of the K rows each token belongs to."""
    rows: Int64
    """int64 [K]. Which rows of the batch these are."""
    prompt_end_at: Int64
    """int64 [K]. Flat cell of each row's last prompt token."""
    live: bool
    """False for a filler, whose one token must weigh nothing."""


def find_chains(batch: TokenBatch, rows: Int64 | None = None) -> list[Chain]:
    """Chains of the given rows (None: all), each row in exactly one, trajectories in ascending order.

    A row that is left out does not break a chain: the row after it also begins with the tokens of the row before it.
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
    """Whether both rows are of one trajectory and the row's prompt begins with all tokens of the previous one."""
    length = lens[previous]
    if batch.trajectory[row] != batch.trajectory[previous] or batch.prompt_lens[row] < length:
        return False
    here, there = starts[row], starts[previous]
    return np.array_equal(batch.tokens[here : here + length], batch.tokens[there : there + length])


def split_by_trajectory(batch: TokenBatch, chains: Sequence[Chain], *, parts: int, seed: int) -> list[list[Chain]]:
    """Split the chains into `parts` non-empty minibatches. Trajectories stay whole; the seed decides their order.

    Each trajectory, in random order, joins the part with the fewest tokens so far. Parts therefore differ by at most
    the tokens of the longest trajectory. Raises ValueError for fewer trajectories than parts.
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
        length = sum(int(lens[chain[-1]]) for chain in by_trajectory[trajectory])
        heapreplace(lightest, (tokens + length, part))
    return minibatches


def pack_chains(
    batch: TokenBatch, chains: Sequence[Chain], *, token_budget: int, world_size: int, packed: bool = False
) -> Packing:
    """Cut the chains into micro-batches of at most `token_budget` cells and deal these to the ranks.

    A chain longer than the budget is a micro-batch of its own. Padded, chains of like lengths go together, so that at
    most MAX_PADDING of all cells is padding. Micro-batch k has about the same size on every rank, because the ranks
    wait for each other in each of them.
    """
    lens = batch.row_lens
    longest_first = sorted(chains, key=lambda chain: (-lens[chain[-1]], chain))
    if packed:
        micros = _fill_evenly(lens, longest_first, token_budget, world_size)
    else:
        micros = _fill_up(lens, _cut(lens, longest_first, token_budget), world_size)
    cells = _packed_cells if packed else _padded_cells
    micros.sort(key=lambda micro: -cells(lens, micro))
    ranks = _deal([cells(lens, micro) for micro in micros], micros, world_size)
    return Packing(
        ranks=tuple(tuple(tuple(micro) for micro in rank) for rank in ranks),
        real_tokens=int(sum(lens[chain[-1]] for chain in chains)),
        padded_tokens=sum(cells(lens, micro) for micro in micros),
        row_tokens=int(sum(lens[row] for chain in chains for row in chain)),
        squared_tokens=int(sum(lens[chain[-1]] ** 2 for chain in chains)),
        scored_tokens=int(sum(batch.response_lens[row] for chain in chains for row in chain)),
    )


def collate(batch: TokenBatch, chains: Sequence[Chain], *, packed: bool = False) -> MicroBatch:
    """The arrays of one forward pass. No chains give a filler: FILLER cells and one token that is not live."""
    if not chains:
        return _filler(packed)
    last_rows = [chain[-1] for chain in chains]
    starts, lens = batch.row_starts[last_rows], batch.row_lens[last_rows]  # [B]
    longest = int(lens.max())
    begins = offsets(lens) if packed else np.arange(len(chains) + 1) * longest  # [B + 1]
    input_ids = np.zeros(int(begins[-1]), dtype=np.int64)
    for begin, start, length in zip(begins[:-1], starts, lens, strict=True):
        input_ids[begin : begin + length] = batch.tokens[start : start + length]
    rows = np.array([row for chain in chains for row in chain], dtype=np.int64)  # [K]
    prompt_end_at = np.repeat(begins[:-1], [len(chain) for chain in chains]) + batch.prompt_lens[rows] - 1  # [K]
    response_lens = batch.response_lens[rows]
    within = np.arange(int(response_lens.sum())) - np.repeat(offsets(response_lens)[:-1], response_lens)  # [S]
    predict_at = np.repeat(prompt_end_at, response_lens) + within
    return MicroBatch(
        input_ids=input_ids.reshape(1 if packed else len(chains), -1),
        bounds=begins.astype(np.int32) if packed else None,
        longest=longest,
        predict_at=predict_at,
        targets=input_ids[predict_at + 1],
        token_index=batch.response_index(rows),
        segment=np.repeat(np.arange(len(rows)), response_lens),
        rows=rows,
        prompt_end_at=prompt_end_at,
        live=True,
    )


def _filler(packed: bool) -> MicroBatch:
    zero = np.zeros(1, dtype=np.int64)
    empty = np.zeros(0, dtype=np.int64)
    return MicroBatch(
        input_ids=np.zeros((1, FILLER), dtype=np.int64),
        bounds=np.array([0, FILLER], dtype=np.int32) if packed else None,
        longest=FILLER,
        predict_at=zero,
        targets=zero,
        token_index=zero,
        segment=zero,
        rows=empty,
        prompt_end_at=empty,
        live=False,
    )


def _cut(lens: Int64, chains: Sequence[Chain], token_budget: int) -> list[list[Chain]]:
    """Group chains, which come longest first, so that no group exceeds the budget or the padding limit."""
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


def _fill_evenly(lens: Int64, chains: Sequence[Chain], token_budget: int, world_size: int) -> list[list[Chain]]:
    """The fewest groups, a multiple of `world_size`, that hold about the same number of tokens within the budget.

    Each chain, which come longest first, joins the group with the fewest tokens. A group above the budget that is no
    single chain asks for one more group on every rank.
    """
    total = int(sum(lens[chain[-1]] for chain in chains))
    count = max(1, -(-total // (token_budget * world_size))) * world_size
    while True:
        groups: list[list[Chain]] = [[] for _ in range(count)]
        lightest = [(0, group) for group in range(count)]
        for chain in chains:
            tokens, group = lightest[0]
            groups[group].append(chain)
            heapreplace(lightest, (tokens + int(lens[chain[-1]]), group))
        if all(tokens <= token_budget or len(groups[group]) == 1 for tokens, group in lightest):
            return groups
        count += world_size


def _fill_up(lens: Int64, micros: list[list[Chain]], world_size: int) -> list[list[Chain]]:
    """Reach a multiple of `world_size` micro-batches: halve the largest that can be halved, then add fillers."""
    micros = list(micros)
    while len(micros) % world_size and any(len(micro) > 1 for micro in micros):
        largest = max((micro for micro in micros if len(micro) > 1), key=lambda micro: _padded_cells(lens, micro))
        micros.remove(largest)
        middle = len(largest) // 2
        micros += [largest[:middle], largest[middle:]]
    return micros + [[] for _ in range(-len(micros) % world_size)]


def _deal(sizes: Sequence[int], micros: Sequence[list[Chain]], world_size: int) -> list[list[list[Chain]]]:
    """Deal micro-batches, which come largest first, in rounds; the largest goes to the rank with the fewest cells."""
    ranks: list[list[list[Chain]]] = [[] for _ in range(world_size)]
    cells = [0] * world_size
    for first in range(0, len(micros), world_size):
        waiting = sorted(range(world_size), key=lambda rank: cells[rank])
        for rank, micro in zip(waiting, range(first, first + world_size), strict=True):
            ranks[rank].append(micros[micro])
            cells[rank] += sizes[micro]
    return ranks


def _padded_cells(lens: Int64, micro: Sequence[Chain]) -> int:
    """Cells B * L of a padded micro-batch."""
    return len(micro) * max(int(lens[chain[-1]]) for chain in micro) if micro else FILLER


def _packed_cells(lens: Int64, micro: Sequence[Chain]) -> int:
    """Cells T of a packed micro-batch."""
    return sum(int(lens[chain[-1]]) for chain in micro) if micro else FILLER
