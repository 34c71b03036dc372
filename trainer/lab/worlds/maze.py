"""A maze on a grid, generated from a seed, with pits, a slippery floor, one goal and a policy of a given skill."""

from collections import deque
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from trainer.config.build import ConfigError
from trainer.lab.worlds.tabular import Floats, Ints, Tabular
from trainer.lab.worlds.vectors import Vectors, unit_vectors

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class MazeConfig:
    """A maze and the policy in it."""

    name: str = "maze"
    """Stands in the tables and seeds the rollouts."""

    width: Annotated[int, Ge(3)] = 5
    """The grid is width x width cells."""

    tasks: Annotated[int, Ge(1)] = 4
    """Tasks, each with a start cell of its own."""

    pits: Annotated[int, Ge(0)] = 3
    """Cells that end the episode as a failure."""

    horizon: Annotated[int, Ge(2)] = 20
    """Turns until an episode ends unsolved."""

    slip: Annotated[float, Interval(ge=0, le=1)] = 0.15
    """Probability that the floor chooses the direction."""

    skill: Annotated[float, Interval(ge=0, le=1)] = 0.4
    """How often the policy takes a shortest way; otherwise it takes any direction."""

    texts: Annotated[int, Ge(1)] = 1
    """Texts that describe one cell."""

    alias: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of the cells that come in pairs with nearly the same vector."""

    near: Annotated[float, Ge(0)] = 0.1
    """Length of the difference between the vectors of such a pair, before they are scaled to length 1."""

    noise: Annotated[float, Ge(0)] = 0.2
    """Length of the random vector that each visit adds to a cell's unit vector."""

    seed: int = 0
    """Seeds the layout and the vectors."""

    def __post_init__(self) -> None:
        if self.tasks + self.pits + 1 > self.width**2:
            raise ConfigError(
                f"{self.name}: tasks={self.tasks} and pits={self.pits} do not fit width={self.width}: widen it"
            )


def maze(config: MazeConfig) -> Tabular:
    """The maze as a table, solved. Raises ConfigError for a maze whose pits cut a start off from the goal."""
    rng = np.random.default_rng(config.seed)
    cells = config.width**2
    places = rng.permutation(cells)
    goal, pits = int(places[0]), set(places[1 : 1 + config.pits].tolist())
    starts = places[1 + config.pits : 1 + config.pits + config.tasks]
    neighbours = np.array([[_move(cell, move, config.width) for move in MOVES] for cell in range(cells)])  # [S, A]
    distance = _distances(neighbours, goal, pits)
    if not np.isfinite(distance[starts]).all():
        raise ConfigError(f"{config.name}: seed={config.seed} puts pits around the goal or a start: choose another")
    outcome = np.arange(cells)
    outcome[goal], outcome[list(pits)] = cells, cells + 1
    # Outcome 0 is the direction that the policy chose; the others are those that the floor may choose instead.
    successor = outcome[np.concatenate([neighbours[:, :, None], np.repeat(neighbours[:, None, :], len(MOVES), 1)], 2)]
    chance = np.array([1.0 - config.slip, *[config.slip / len(MOVES)] * len(MOVES)])
    shortest = distance[neighbours] == distance[neighbours].min(1, keepdims=True)
    policy = config.skill * shortest / shortest.sum(1, keepdims=True) + (1.0 - config.skill) / len(MOVES)
    return Tabular(
        name=config.name,
        successor=successor,
        chance=np.broadcast_to(chance, successor.shape).copy(),
        policy=policy,
        keys=np.broadcast_to(np.arange(len(MOVES)), policy.shape).copy(),
        starts=starts,
        horizon=config.horizon,
        vectors=_cell_vectors(config, cells, rng),
        texts=config.texts,
        noise=config.noise,
        names=tuple(f"row {cell // config.width + 1}, column {cell % config.width + 1}" for cell in range(cells)),
        acts=("up", "right", "down", "left"),  # as in MOVES
    )


def _cell_vectors(config: MazeConfig, cells: int, rng: np.random.Generator) -> Vectors:
    """A unit vector for each cell [S, WIDTH]; a share `alias` of the cells comes in pairs with nearly the same one."""
    vectors = unit_vectors(cells, rng)
    pairs = rng.permutation(cells)[: 2 * round(config.alias * cells / 2)].reshape(-1, 2)
    vectors[pairs[:, 1]] = vectors[pairs[:, 0]] + np.float32(config.near) * unit_vectors(len(pairs), rng)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _move(cell: int, move: tuple[int, int], width: int) -> int:
    """The cell that a move leads to; the walls around the grid stop it."""
    row, column = cell // width + move[0], cell % width + move[1]
    return row * width + column if 0 <= row < width and 0 <= column < width else cell


def _distances(reached: Ints, goal: int, pits: set[int]) -> Floats:
    """Moves from each cell to the goal around the pits [S]; inf in a pit and where there is no way."""
    distance = np.full(len(reached), np.inf)
    distance[goal] = 0.0
    queue = deque([goal])
    while queue:
        current = queue.popleft()
        for cell in np.unique(np.argwhere(reached == current)[:, 0]).tolist():
            if cell not in pits and not np.isfinite(distance[cell]):
                distance[cell] = distance[current] + 1.0
                queue.append(cell)
    return distance
