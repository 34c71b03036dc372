"""Columns at the door: one dtype, one length, no NaN, and the name of the first row that breaks a rule."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def column(name: str, value: ArrayLike, dtype: DTypeLike, *, rows: int | None, dims: int = 1) -> NDArray[np.generic]:
    """`value` as a read-only array of `dtype` with `dims` axes and `rows` rows (None: any number above zero).

    Another dtype is converted where every value survives the way there and back. Raises ValueError otherwise.
    """
    given = np.asarray(value)
    wanted = np.dtype(dtype)
    if given.ndim != dims:
        raise ValueError(f"{name} has shape {given.shape}: give it {dims} axes, one entry per environment step first")
    if rows is None and given.shape[0] == 0:
        raise ValueError(f"{name} has no rows: an estimator needs at least one environment step")
    if rows is not None and given.shape[0] != rows:
        raise ValueError(
            f"{name} has {given.shape[0]} rows where {rows} are due: give it one entry per environment step"
        )
    result = given if given.dtype == wanted else _converted(name, given, wanted)
    result = result.view()
    result.flags.writeable = False
    return result


def _converted(name: str, given: NDArray[Any], wanted: np.dtype[np.generic]) -> NDArray[np.generic]:
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {given.dtype}: give it {wanted} (text becomes codes before it comes here)")
    with np.errstate(invalid="ignore", over="ignore"):  # a value that does not fit is named below
        result: NDArray[Any] = given.astype(wanted)
        same = (result.astype(given.dtype) == given) & ((result < 0) == (given < 0))  # uint64 wraps there and back
    same |= np.isnan(given) & (wanted.kind == "f")  # NaN passes here and is refused as not finite later
    refuse(name, given, ~same, f"does not fit {wanted} without loss: convert the column before building the batch")
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
    refuse(name, value, ~((value >= 0.0) & (value <= 1.0)), "is not in [0, 1]: it is a share, clip it where it is made")


def check_directions(name: str, value: NDArray[np.float32]) -> None:
    """Raise ValueError for the first row of [N, D] without a direction: NaN, infinite, or of zero length."""
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
    """Row numbers [N] in the order (group, trajectory, time).

    Raises ValueError where (trajectory, time) occurs twice, times do not run 0..T-1, or a trajectory lies in two
    groups; the row named is the first offender in the order (trajectory, time).
    """
    order = np.lexsort((time, trajectory))
    who, when, where = trajectory[order], time[order], group[order]
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = who[1:] == who[:-1]
    again = same & (np.diff(when, prepend=when[:1]) == 0)
    _refuse_row(order, again, trajectory, time, "occurs twice: give each rollout its own trajectory id")
    positions = np.arange(len(order))
    expected = positions - np.maximum.accumulate(np.where(same, 0, positions))
    _refuse_row(
        order, when != expected, trajectory, time, "leaves a gap: times of a trajectory run 0..T-1, none missing"
    )
    moved = same & (np.diff(where, prepend=where[:1]) != 0)
    _refuse_row(
        order, moved, trajectory, group, "puts the trajectory in a second group: one rollout, one group", "group"
    )
    return order[np.argsort(where, kind="stable")]


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
    """Raise ValueError for the first row, in `order` [N], whose value differs from the row before of its rollout."""
    who, what = trajectory[order], value[order]
    bad = np.zeros(len(order), dtype=np.bool_)
    bad[1:] = (who[1:] == who[:-1]) & (what[1:] != what[:-1])
    if bad.any():
        row = int(order[np.flatnonzero(bad)[0]])
        raise ValueError(
            f"row {row}: {name}={value[row]} differs from an earlier step of trajectory {trajectory[row]}: "
            f"{name} belongs to the rollout, give every row of it the same value"
        )
