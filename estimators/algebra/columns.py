"""Checks of columns: one dtype, one length, no NaN. An error names the first row that breaks a rule."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def column(name: str, value: ArrayLike, dtype: DTypeLike, *, rows: int | None, dims: int = 1) -> NDArray[np.generic]:
    """`value` as a read-only array of `dtype` with `dims` axes and `rows` rows (None: any number above zero).

    Another dtype is converted if every value survives the conversion. Raises ValueError otherwise.
    """
    array = np.asarray(value)
    target = np.dtype(dtype)
    if array.ndim != dims:
        raise ValueError(f"{name} has shape {array.shape}: give it {dims} axes, one entry per environment step first")
    if rows is None and array.shape[0] == 0:
        raise ValueError(f"{name} has no rows: an estimator needs at least one environment step")
    if rows is not None and array.shape[0] != rows:
        raise ValueError(
            f"{name} has {array.shape[0]} rows where {rows} are due: give it one entry per environment step"
        )
    result = array if array.dtype == target else _converted(name, array, target)
    result = result.view()
    result.flags.writeable = False
    return result


def _converted(name: str, array: NDArray[Any], target: np.dtype[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}: give it {target} (turn text into codes first)")
    with np.errstate(invalid="ignore", over="ignore"):  # a value that does not fit is named below
        result: NDArray[Any] = array.astype(target)
        # The sign too: a uint64 above the range of int64 comes back unchanged.
        same = (result.astype(array.dtype) == array) & ((result < 0) == (array < 0))
    same |= np.isnan(array) & (target.kind == "f")  # NaN passes here and is refused as not finite later
    refuse(name, array, ~same, f"does not fit {target} without loss: convert the column before building the batch")
    return result


def refuse(name: str, value: NDArray[np.generic], bad: NDArray[np.bool_], remedy: str) -> None:
    """Raise ValueError for the first row where `bad` [N] or [N, D] holds, with the row's value and the remedy."""
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"row {where[0]}: {name}={value[where]!s} {remedy}")


def check_finite(name: str, value: NDArray[np.float64]) -> None:
    """Raise ValueError for the first row [N] that is NaN or infinite."""
    refuse(name, value, ~np.isfinite(value), "is not finite: drop the rollout whole or mend its source")


def check_share(name: str, value: NDArray[np.float64]) -> None:
    """Raise ValueError for the first row [N] outside [0, 1]; NaN is outside."""
    refuse(name, value, ~((value >= 0.0) & (value <= 1.0)), "is not in [0, 1]: clip this share where it is computed")


def check_directions(name: str, value: NDArray[np.float32]) -> None:
    """Raise ValueError for the first vector of [N, D] that is NaN, infinite or of zero length."""
    squared = np.einsum("nd,nd->n", value, value)  # one pass without a temporary as large as the embeddings
    bad = ~np.isfinite(squared) | (squared == 0.0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"row {row}: {name} has squared length {squared[row]} in float32, so it has no direction: check the layer "
            "and the token position that it was read from"
        )


def rollout_order(
    group: NDArray[np.int64], trajectory: NDArray[np.int64], time: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers [N] ordered by (group, trajectory, time).

    Raises ValueError where (trajectory, time) occurs twice, where times do not run 0..T-1 and where a trajectory lies
    in two groups. The error names the first such row by (trajectory, time).
    """
    order = np.lexsort((time, trajectory))
    rollout, step, task = trajectory[order], time[order], group[order]
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = rollout[1:] == rollout[:-1]
    repeated = same & (np.diff(step, prepend=step[:1]) == 0)
    _refuse_row(order, repeated, trajectory, time, "occurs twice: give each rollout its own trajectory id")
    positions = np.arange(len(order))
    expected = positions - np.maximum.accumulate(np.where(same, 0, positions))
    _refuse_row(
        order, step != expected, trajectory, time, "leaves a gap: times of a trajectory run 0..T-1, none missing"
    )
    elsewhere = same & (np.diff(task, prepend=task[:1]) != 0)
    _refuse_row(
        order, elsewhere, trajectory, group, "puts the trajectory in a second group: one rollout, one group", "group"
    )
    return order[np.argsort(task, kind="stable")]


def _refuse_row(
    order: NDArray[np.int64],
    bad: NDArray[np.bool_],
    trajectory: NDArray[np.int64],
    value: NDArray[np.int64],
    remedy: str,
    name: str = "time",
) -> None:
    if bad.any():
        row = int(order[np.flatnonzero(bad)[0]])
        raise ValueError(f"row {row}: trajectory={trajectory[row]} {name}={value[row]} {remedy}")


def check_constant(
    name: str, value: NDArray[np.float64], trajectory: NDArray[np.int64], order: NDArray[np.int64]
) -> None:
    """Raise ValueError for the first row, along `order` [N], whose value differs from its rollout's previous row."""
    rollout, own = trajectory[order], value[order]
    bad = np.zeros(len(order), dtype=np.bool_)
    bad[1:] = (rollout[1:] == rollout[:-1]) & (own[1:] != own[:-1])
    if bad.any():
        row = int(order[np.flatnonzero(bad)[0]])
        raise ValueError(
            f"row {row}: {name}={value[row]} differs from an earlier step of trajectory {trajectory[row]}: "
            f"{name} belongs to the rollout, give every row of it the same value"
        )


def check_rising(name: str, value: NDArray[np.int64], trajectory: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    """Raise ValueError for the first row, along `order` [N], below 0 or below its rollout's previous row."""
    rollout, own = trajectory[order], value[order]
    least = np.zeros(len(order), dtype=np.int64)
    least[1:] = np.where(rollout[1:] == rollout[:-1], np.maximum(own[:-1], 0), 0)
    if (own < least).any():
        place = int(np.flatnonzero(own < least)[0])
        row = int(order[place])
        raise ValueError(
            f"row {row}: {name}={value[row]} in trajectory {trajectory[row]} is below {least[place]}: count what was "
            "reached since the start, and keep what was reached"
        )
