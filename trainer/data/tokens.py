"""The token ids of the rows a learner trains on, and the targets of each row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from estimators import Unit

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """N rows as T token ids. A row is one agent turn: its prompt, then its response.

    An array "per response token" has shape [R], R = sum(response_lens): the response tokens row by row.
    Raises ValueError where the columns do not fit each other.

    >>> batch = TokenBatch(tokens=[5, 6, 7], prompt_lens=[2], response_lens=[1], trajectory=[0], time=[0])
    >>> batch.row(0).tolist(), batch.prompt(0).tolist(), batch.num_response_tokens
    ([5, 6, 7], [5, 6], 1)
    """

    tokens: Int32
    """int32 [T], T = sum(prompt_lens + response_lens). The ids of all rows, one row after the other."""
    prompt_lens: Int32
    """int32 [N]. Prompt tokens of each row, at least 1."""
    response_lens: Int32
    """int32 [N]. Response tokens of each row, at least 1."""
    trajectory: Int64
    """int64 [N]. Which trajectory each row belongs to."""
    time: Int64
    """int64 [N]. Which turn of its trajectory each row is; no two rows of a trajectory share one."""

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

    @classmethod
    def from_rows(
        cls, prompts: Sequence[Int32], responses: Sequence[Int32], *, trajectory: Sequence[int], time: Sequence[int]
    ) -> Self:
        """The batch of these rows: prompt and response ids, trajectory and turn of each."""
        pieces = [ids for row in zip(prompts, responses, strict=True) for ids in row]
        return cls(
            tokens=np.concatenate(pieces).astype(np.int32),
            prompt_lens=np.array([len(ids) for ids in prompts], np.int32),
            response_lens=np.array([len(ids) for ids in responses], np.int32),
            trajectory=np.array(trajectory, np.int64),
            time=np.array(time, np.int64),
        )

    @property
    def num_rows(self) -> int:
        return len(self.prompt_lens)

    @property
    def num_response_tokens(self) -> int:
        return int(self.response_lens.sum())

    @property
    def row_lens(self) -> Int64:
        """Prompt plus response tokens of each row. [N]"""
        return self.prompt_lens.astype(np.int64) + self.response_lens

    @property
    def row_starts(self) -> Int64:
        """Where each row starts in `tokens`; the last entry is T. [N + 1]"""
        return offsets(self.row_lens)

    @property
    def response_starts(self) -> Int64:
        """Where each row starts in an array per response token; the last entry is R. [N + 1]"""
        return offsets(self.response_lens)

    def row(self, index: int) -> Int32:
        """Prompt and response ids of one row. [prompt_len + response_len]"""
        start = int(self.row_starts[index])
        return self.tokens[start : start + int(self.row_lens[index])]

    def prompt(self, index: int) -> Int32:
        """Prompt ids of one row. [prompt_len]"""
        return self.row(index)[: self.prompt_lens[index]]

    def response(self, index: int) -> Int32:
        """Response ids of one row. [response_len]"""
        return self.row(index)[self.prompt_lens[index] :]

    def take(self, rows: Int64) -> "TokenBatch":
        """A batch of the given rows, in the given order."""
        return TokenBatch(
            tokens=self.tokens[ragged_index(self.row_starts, rows)],
            prompt_lens=self.prompt_lens[rows],
            response_lens=self.response_lens[rows],
            trajectory=self.trajectory[rows],
            time=self.time[rows],
        )

    def response_index(self, rows: Int64) -> Int64:
        """Indices of the given rows' response tokens in an array per response token. [sum of their response_lens]"""
        return ragged_index(self.response_starts, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What `Learner.learn` trains the N rows (R response tokens) of a TokenBatch towards.

    Raises ValueError for a wrong kind of dtype, a wrong length or a value that is not finite.
    """

    advantage: Float32
    """float32 [N]. One number per row; every response token of the row gets it, unless there is `token_advantage`."""
    row_mask: Bool
    """bool [N]. False leaves a row out of the loss and of every mean."""
    old_logprobs: Float32
    """float32 [R], nats. From the policy before this update (`Learner.score`), or from the engine that sampled."""
    ref_logprobs: Float32 | None = None
    """float32 [R], nats. From the reference policy; required if the loss has a KL term."""
    rollout_logprobs: Float32 | None = None
    """float32 [R], nats. As the engine reported them; required for truncated importance weights."""
    token_mask: Bool | None = None
    """bool [R]. False leaves a single token out of the loss; None leaves none out."""
    token_advantage: Float32 | None = None
    """float32 [R]. One number per response token, in the place of `advantage`."""
    returns: Float32 | None = None
    """float32 [N], in units of reward. What the critic should have said of each row, with `token_advantage` [R] of each
    response token; required by a critic."""
    values: Float32 | None = None
    """float32 as `returns`. What the critic said before this update."""

    def __post_init__(self) -> None:
        _coerce(self, advantage=np.float32, row_mask=np.bool_, old_logprobs=np.float32)
        _coerce(self, ref_logprobs=np.float32, rollout_logprobs=np.float32, token_mask=np.bool_)
        _coerce(self, token_advantage=np.float32, returns=np.float32, values=np.float32)
        of_critic = ("returns", "values")
        by_row, by_token = ("row_mask",), ("ref_logprobs", "rollout_logprobs", "token_mask", "token_advantage")
        if self.token_advantage is None:
            by_row += of_critic
        else:
            by_token += of_critic
        for like, names in (("advantage", by_row), ("old_logprobs", by_token)):
            for name in names:
                if (column := getattr(self, name)) is not None:
                    _check_length(name, column, len(getattr(self, like)), like)
        for field in fields(self):
            column = getattr(self, field.name)
            if column is not None and not np.isfinite(column).all():
                raise ValueError(f"{field.name} holds {int((~np.isfinite(column)).sum())} values that are not finite")

    def check_fits(self, batch: TokenBatch) -> None:
        """Raise ValueError if these targets were made for another batch."""
        _check_length("advantage", self.advantage, batch.num_rows, "the batch's rows")
        _check_length("old_logprobs", self.old_logprobs, batch.num_response_tokens, "the batch's response tokens")

    @property
    def critic(self) -> Unit | None:
        """What the critic that they are for gives values to; None without one."""
        if self.values is None:
            return None
        return "turn" if self.token_advantage is None else "token"

    def token_credit(self, batch: TokenBatch) -> Float32:
        """The advantage of each response token. [R]"""
        if self.token_advantage is not None:
            return self.token_advantage
        return np.repeat(self.advantage, batch.response_lens)

    def live_tokens(self, batch: TokenBatch) -> Bool:
        """Which response tokens are in the loss: those that row_mask and token_mask both keep. [R]"""
        live = np.repeat(self.row_mask, batch.response_lens)
        return live if self.token_mask is None else live & self.token_mask


def offsets(lens: NDArray[np.integer]) -> Int64:
    """Where each of several consecutive pieces starts, given their lengths; the last entry is the total. [len + 1]

    >>> offsets(np.array([2, 3])).tolist()
    [0, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lens, dtype=np.int64)])


def ragged_index(starts: Int64, rows: NDArray[np.integer]) -> Int64:
    """Flat indices of whole rows of a ragged array, row after row. starts [N + 1], rows [K] -> [sum of row lengths]

    >>> ragged_index(np.array([0, 2, 5]), np.array([1, 0])).tolist()
    [2, 3, 4, 0, 1]
    """
    rows = np.asarray(rows, dtype=np.int64)
    lens = starts[rows + 1] - starts[rows]
    return np.arange(int(lens.sum())) + np.repeat(starts[rows] - offsets(lens)[:-1], lens)


def _coerce(record: Any, **dtypes: type[np.generic]) -> None:
    """Convert the named fields, in place, to one-dimensional arrays of the given dtypes. None stays None."""
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
