"""Token ids of the rows a learner sees, and what each row is trained towards."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """N rows, one agent turn each, as T token ids: of every row the prompt, then the response.

    tokens: int32 [T], T = sum(prompt_lens + response_lens).
    prompt_lens, response_lens: int32 [N], at least 1 each; R = sum(response_lens).
    trajectory: int64 [N], which rollout a row belongs to. time: int64 [N], which of its turns; unique within it.

    "Per response token" arrays of shape [R] go row by row, in the rows' order.
    Raises ValueError where the columns do not fit each other.

    >>> batch = TokenBatch(tokens=[5, 6, 7], prompt_lens=[2], response_lens=[1], trajectory=[0], time=[0])
    >>> batch.row(0).tolist(), batch.prompt(0).tolist(), batch.num_response_tokens
    ([5, 6, 7], [5, 6], 1)
    """

    tokens: Int32
    prompt_lens: Int32
    response_lens: Int32
    trajectory: Int64
    time: Int64

    def __post_init__(self) -> None:
        _coerce(self, tokens=np.int32, prompt_lens=np.int32, response_lens=np.int32, trajectory=np.int64, time=np.int64)
        num_rows = len(self.prompt_lens)
        for name in ("response_lens", "trajectory", "time"):
            _check_length(name, getattr(self, name), num_rows, "prompt_lens")
        if num_rows == 0:
            raise ValueError("a TokenBatch has no rows: collect at least one trajectory before building it")
        for name in ("prompt_lens", "response_lens"):
            if (smallest := int(getattr(self, name).min())) < 1:
                raise ValueError(f"{name} has a row of {smallest} tokens: every prompt and response needs at least 1")
        _check_length("tokens", self.tokens, int(self.row_lens.sum()), "sum(prompt_lens + response_lens)")
        if int(self.tokens.min()) < 0:
            raise ValueError(f"tokens contains the negative id {int(self.tokens.min())}: token ids start at 0")
        order = np.lexsort((self.time, self.trajectory))
        if bool(((np.diff(self.trajectory[order]) == 0) & (np.diff(self.time[order]) == 0)).any()):
            raise ValueError("two rows share (trajectory, time): pass each turn once, without padding copies")

    @property
    def num_rows(self) -> int:
        return len(self.prompt_lens)

    @property
    def num_response_tokens(self) -> int:
        return int(self.response_lens.sum())

    @property
    def row_lens(self) -> Int64:
        """Prompt plus response. [N]"""
        return self.prompt_lens.astype(np.int64) + self.response_lens

    @property
    def row_starts(self) -> Int64:
        """Where each row starts in `tokens`, and T last. [N + 1]"""
        return offsets(self.row_lens)

    @property
    def response_starts(self) -> Int64:
        """Where each row starts in a per-response-token array, and R last. [N + 1]"""
        return offsets(self.response_lens)

    def row(self, index: int) -> Int32:
        """Prompt and response of one row. [prompt_len + response_len]"""
        start = int(self.row_starts[index])
        return self.tokens[start : start + int(self.row_lens[index])]

    def prompt(self, index: int) -> Int32:
        return self.row(index)[: self.prompt_lens[index]]

    def response(self, index: int) -> Int32:
        return self.row(index)[self.prompt_lens[index] :]

    def take(self, rows: Int64) -> "TokenBatch":
        """The given rows, in the given order."""
        return TokenBatch(
            tokens=self.tokens[ragged_index(self.row_starts, rows)],
            prompt_lens=self.prompt_lens[rows],
            response_lens=self.response_lens[rows],
            trajectory=self.trajectory[rows],
            time=self.time[rows],
        )

    def response_index(self, rows: Int64) -> Int64:
        """Places of the given rows' response tokens in a per-response-token array. [sum of their response_lens]"""
        return ragged_index(self.response_starts, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What `Learner.learn` pulls the rows of a TokenBatch towards.

    advantage: float32 [N], one number per row, given to each of its response tokens.
    row_mask: bool [N]; False leaves a row out of the loss and of every mean.
    old_logprobs: float32 [R], nats, of the policy before this update (Learner.score).
    ref_logprobs: float32 [R] of the reference policy; needed where the loss has a KL term.
    rollout_logprobs: float32 [R] as the engine reported them; needed for truncated importance weights.
    token_mask: bool [R]; False leaves single tokens out.

    Raises ValueError for a wrong dtype kind, a wrong length or a value that is not finite.
    """

    advantage: Float32
    row_mask: Bool
    old_logprobs: Float32
    ref_logprobs: Float32 | None = None
    rollout_logprobs: Float32 | None = None
    token_mask: Bool | None = None

    def __post_init__(self) -> None:
        _coerce(self, advantage=np.float32, row_mask=np.bool_, old_logprobs=np.float32)
        _coerce(self, ref_logprobs=np.float32, rollout_logprobs=np.float32, token_mask=np.bool_)
        _check_length("row_mask", self.row_mask, len(self.advantage), "advantage")
        for name in ("ref_logprobs", "rollout_logprobs", "token_mask"):
            if (column := getattr(self, name)) is not None:
                _check_length(name, column, len(self.old_logprobs), "old_logprobs")
        for field in fields(self):
            column = getattr(self, field.name)
            if column is not None and not np.isfinite(column).all():
                raise ValueError(f"{field.name} holds {int((~np.isfinite(column)).sum())} values that are not finite")

    def check_fits(self, batch: TokenBatch) -> None:
        """Raises ValueError where these targets were made for another batch."""
        _check_length("advantage", self.advantage, batch.num_rows, "the batch's rows")
        _check_length("old_logprobs", self.old_logprobs, batch.num_response_tokens, "the batch's response tokens")

    def live_tokens(self, batch: TokenBatch) -> Bool:
        """Which response tokens are in the loss: row_mask and token_mask together. [R]"""
        live = np.repeat(self.row_mask, batch.response_lens)
        return live if self.token_mask is None else live & self.token_mask


def offsets(lens: NDArray[np.integer]) -> Int64:
    """0 and the running sums: where each of the runs of these lengths starts, and their total. [len + 1]"""
    return np.concatenate([[0], np.cumsum(lens, dtype=np.int64)])


def ragged_index(starts: Int64, rows: NDArray[np.integer]) -> Int64:
    """Flat places of whole rows in a ragged array, row after row. starts [N + 1], rows [K] -> [sum of row lengths]

    >>> ragged_index(np.array([0, 2, 5]), np.array([1, 0])).tolist()
    [2, 3, 4, 0, 1]
    """
    rows = np.asarray(rows, dtype=np.int64)
    lens = starts[rows + 1] - starts[rows]
    return np.arange(int(lens.sum())) + np.repeat(starts[rows] - offsets(lens)[:-1], lens)


def _coerce(record: Any, **dtypes: type[np.generic]) -> None:
    """Turn the named fields into arrays of one dimension and the stated dtype; None stays None."""
    for name, dtype in dtypes.items():
        value = getattr(record, name)
        if value is None:
            continue
        array = np.asarray(value)
        if array.size and not np.can_cast(array.dtype, dtype, casting="same_kind"):
            raise ValueError(f"{name} has dtype {array.dtype}, which does not convert to {np.dtype(dtype)} safely")
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}: expected one dimension")
        object.__setattr__(record, name, array.astype(dtype, copy=False))


def _check_length(name: str, column: NDArray[Any], expected: int, of: str) -> None:
    if len(column) != expected:
        raise ValueError(f"{name} has {len(column)} entries, {of} ask for {expected}")
