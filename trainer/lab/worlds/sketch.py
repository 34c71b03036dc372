"""A small world written down by names: what each state offers, where that leads and what it pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.lab.worlds.tabular import SUCCESS_REWARD, Tabular
from trainer.lab.worlds.vectors import unit_vectors

END = ""
"""Stands for the end of the episode, where the name of a state is due."""

NOISE = 0.2
"""Length of the random vector that each visit adds to its state's unit vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One outcome of an action."""

    to: str = END
    """The state that it leads to."""

    chance: float = 1.0
    """Its probability."""

    pays: float = 0.0
    """Its reward, as a share of SUCCESS_REWARD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action of a state."""

    ways: tuple[Way, ...]
    """What may come of it."""

    weight: float = 1.0
    """How often the policy takes it, in proportion to the other weights of its state."""


State = Mapping[str, Act]
"""A state's actions by their text."""


def leads(to: str = END, *, pays: float = 0.0, weight: float = 1.0) -> Act:
    """An action with a single outcome."""
    return Act(ways=(Way(to=to, pays=pays),), weight=weight)


def world_of(
    name: str,
    states: Mapping[str, State],
    *,
    starts: Sequence[str],
    horizon: int,
    looks: Mapping[str, str] | None = None,
    texts: int = 1,
    seed: int = 0,
) -> Tabular:
    """The world as a table, solved. Raises KeyError for a name that no state has.

    looks: what a state shows, where this is not its own name; states that show the same have the same vector.
    seed: of the vectors.
    """
    index = {state: number for number, state in enumerate(states)} | {END: len(states) + 1}
    slots = max(map(len, states.values()))
    outcomes = max(len(act.ways) for state in states.values() for act in state.values())
    shape = (len(states), slots, outcomes)
    successor, chance, reward = np.full(shape, len(states) + 1), np.zeros(shape), np.zeros(shape)
    policy, keys = np.zeros(shape[:2]), np.zeros(shape[:2], np.int64)
    codes: dict[str, int] = {}
    for row, acts in enumerate(states.values()):
        for slot, (text, act) in enumerate(acts.items()):
            policy[row, slot], keys[row, slot] = act.weight, codes.setdefault(text, len(codes))
            for outcome, way in enumerate(act.ways):
                successor[row, slot, outcome] = index[way.to]
                chance[row, slot, outcome] = way.chance
                reward[row, slot, outcome] = SUCCESS_REWARD * way.pays
    shown = [(looks or {}).get(state, state) for state in states]
    look = np.unique(shown, return_inverse=True)[1]
    return Tabular(
        name=name,
        successor=successor,
        chance=chance,
        policy=policy / policy.sum(-1, keepdims=True),
        keys=keys,
        starts=np.array([index[start] for start in starts]),
        horizon=horizon,
        vectors=unit_vectors(len(states), np.random.default_rng(seed))[look],
        reward=reward,
        looks=look,
        texts=texts,
        noise=NOISE,
        names=tuple(states),
        acts=tuple(codes),
    )
