"""Which goals are for training and which for validation."""

import random
from collections.abc import Sequence
from functools import cache
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from envs.base import EnvError
from envs.webshop.goals import GoalTable
from envs.webshop.shop import Shop

SplitRule = Literal["by_goal", "by_product", "verl_agent"]
RULES: tuple[SplitRule, ...] = ("by_goal", "by_product", "verl_agent")
_HELD_OUT = 500
# The public GiGPO code: 16 training workers and 128 for validation, each with its own seed.
_TRAIN_SEEDS, _VALIDATION_SEEDS = range(16), range(1000, 1128)


class GoalIds(Sequence[str]):
    """Ids of goals, formatted on access: the full catalogue has millions."""

    def __init__(self, indices: NDArray[np.int64]) -> None:
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return GoalIds(self._indices[place])
        return f"goal-{self._indices[place]}"


@cache
def split_goals(shop: Shop, rule: SplitRule) -> dict[str, Sequence[str]]:
    """The ids of `train` and `validation`.

    "by_goal": the first 500 goals are `validation`, or a quarter if there are fewer than 2,000. These are the public
    code's indices, under the shuffle that all codes share. Two goals of one product may be on different sides.
    "by_product": the same number of goals, all of products that no training goal has.
    "verl_agent": LEAKS, as the public code does; for comparison only. There each worker shuffles by its own seed before
    it holds out the first 500, so the validation goals are trained on too.
    Raises EnvError for "verl_agent" with 500 goals or fewer.
    """
    size = len(shop.goals)
    held_out = min(_HELD_OUT, size // 4)
    match rule:
        case "by_goal":
            validation, train = np.arange(held_out), np.arange(held_out, size)
        case "by_product":
            validation, train = _by_product(shop.goals, held_out)
        case "verl_agent":
            validation, train = _leaking(shop, size)
    # Every comparison of results relies on this. "verl_agent" is known to break it.
    assert rule == "verl_agent" or not np.isin(validation, train).any()
    return {"train": GoalIds(train), "validation": GoalIds(validation)}


def known_rule(rule: str) -> SplitRule:
    """The rule, checked. Raises EnvError for one that does not exist."""
    for name in RULES:
        if rule == name:
            return name
    raise EnvError(f"webshop has no split={rule!r}; choose one of {', '.join(map(repr, RULES))}")


def _by_product(goals: GoalTable, held_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(validation, train). Products are held out in the order of the goals, until they have enough goals."""
    product_of = goals.products_of_all()  # [goals]
    products, first, counts = np.unique(product_of, return_index=True, return_counts=True)
    order = np.argsort(first)
    num_products = int(np.searchsorted(np.cumsum(counts[order]), held_out)) + 1
    kept = np.isin(product_of, products[order[:num_products]])  # [goals]
    return np.flatnonzero(kept)[:held_out], np.flatnonzero(~kept)


def _leaking(shop: Shop, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if size <= _HELD_OUT:
        raise EnvError(
            f"{shop.source}: split='verl_agent' holds out {_HELD_OUT} goals and there are {size}; use by_goal"
        )
    index_of = np.argsort(shop.goals.order)  # number before any shuffle -> our index
    train = np.unique(np.concatenate([_shuffled(size, seed)[_HELD_OUT:] for seed in _TRAIN_SEEDS]))
    places = np.random.RandomState(_VALIDATION_SEEDS[0]).choice(_HELD_OUT, len(_VALIDATION_SEEDS), replace=False)
    numbers = [_shuffled(size, seed)[place] for seed, place in zip(_VALIDATION_SEEDS, places, strict=True)]
    return np.unique(index_of[numbers]), np.sort(index_of[train])


def _shuffled(size: int, seed: int) -> NDArray[np.int64]:
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return np.array(order)
