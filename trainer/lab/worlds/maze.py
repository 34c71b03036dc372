"""A maze on a grid, made by seed: pits, a slippery floor, one goal, and a policy that sometimes takes the short way."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.config.build import ConfigError
from trainer.lab.worlds.tabular import Ints, Tabular

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
WIDTH = 48  # of the vectors that stand for hidden states


@dataclass(frozen=True, slots=True, kw_only=True)
class MazeConfig:
    """width x width cells; tasks start in different ones. slip: probability that the floor chooses the direction.

    pits: cells that end the episode. skill: how often the policy takes a shortest way; else any direction.
    texts: how many texts one cell may be described by. alias: share of the cells whose vector nearly is another
    cell's, at `near` from it. noise: length of what each visit adds to a cell's unit vector.
    """

    name: str = "maze"
    width: int = 5
    tasks: int = 4
    pits: int = 3
    horizon: int = 20
    slip: float = 0.15
    skill: float = 0.4
    texts: int = 1
    alias: float = 0.0
    near: float = 0.1
    noise: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < 3 or self.horizon < 2 or min(self.tasks, self.texts) < 1 or self.pits < 0:
            raise ConfigError(
                f"{self.name}: width={self.width}, horizon={self.horizon}, tasks={self.tasks}, texts={self.texts}, "
                f"pits={self.pits} is no maze: give width 3, horizon 2, tasks 1, texts 1, pits 0 or more"
            )
        if self.tasks + self.pits + 1 > self.width**2:
            raise ConfigError(
                f"{self.name}: tasks={self.tasks} and pits={self.pits} do not fit width={self.width}: widen it"
            )
        for option in ("slip", "skill", "alias"):
            if not 0.0 <= getattr(self, option) <= 1.0:
                raise ConfigError(f"{self.name}: {option}={getattr(self, option)} is no share: give a value in [0, 1]")
        if self.noise < 0 or self.near < 0:
            raise ConfigError(f"{self.name}: noise={self.noise}, near={self.near} are lengths: give 0 or more")


def maze(config: MazeConfig) -> Tabular:
    """Raises ConfigError for a maze whose pits cut a start off from the goal."""
    rng = np.random.default_rng(config.seed)
    cells = config.width**2
    places = rng.permutation(cells)
    goal, pits = int(places[0]), set(places[1 : 1 + config.pits].tolist())
    starts = places[1 + config.pits : 1 + config.pits + config.tasks]
    reached = np.array([[_moved(cell, move, config.width) for move in MOVES] for cell in range(cells)])  # [S, A]
    distance = _distances(reached, goal, pits)
    if not np.isfinite(distance[starts]).all():
        raise ConfigError(f"{config.name}: seed={config.seed} puts pits around the goal or a start: choose another")
    ends = np.arange(cells)
    ends[goal], ends[list(pits)] = cells, cells + 1
    # Outcome 0 is the way meant; the others are what the floor chooses instead.
    successor = ends[np.concatenate([reached[:, :, None], np.repeat(reached[:, None, :], len(MOVES), 1)], 2)]
    chance = np.array([1.0 - config.slip, *[config.slip / len(MOVES)] * len(MOVES)])
    best = distance[reached] == distance[reached].min(1, keepdims=True)
    policy = config.skill * best / best.sum(1, keepdims=True) + (1.0 - config.skill) / len(MOVES)
    return Tabular(
        name=config.name,
        successor=successor,
        chance=np.broadcast_to(chance, successor.shape).copy(),
        policy=policy,
        keys=np.broadcast_to(np.arange(len(MOVES)), policy.shape).copy(),
        starts=starts,
        horizon=config.horizon,
        looks=_looks(config, cells, rng),
        texts=config.texts,
        noise=config.noise,
    )


def directions(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random unit vectors [count, WIDTH]."""
    drawn = rng.standard_normal((count, WIDTH), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _looks(config: MazeConfig, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A unit vector per cell [S, WIDTH]; `alias` of the cells, in pairs, nearly share one."""
    looks = directions(cells, rng)
    paired = rng.permutation(cells)[: 2 * round(config.alias * cells / 2)].reshape(-1, 2)
    looks[paired[:, 1]] = looks[paired[:, 0]] + np.float32(config.near) * directions(len(paired), rng)
    return looks / np.linalg.norm(looks, axis=1, keepdims=True)


def _moved(cell: int, move: tuple[int, int], width: int) -> int:
    """The cell a move leads to; walls around the grid leave it where it is."""
    row, column = cell // width + move[0], cell % width + move[1]
    return row * width + column if 0 <= row < width and 0 <= column < width else cell


def _distances(reached: Ints, goal: int, pits: set[int]) -> NDArray[np.float64]:
    """Moves from each cell to the goal around the pits [S]; inf where there is no way, and in a pit."""
    distance = np.full(len(reached), np.inf)
    distance[goal] = 0.0
    queue = deque([goal])
    while queue:
        here = queue.popleft()
        for cell in np.unique(np.argwhere(reached == here)[:, 0]).tolist():
            if cell not in pits and not np.isfinite(distance[cell]):
                distance[cell] = distance[here] + 1.0
                queue.append(cell)
    return distance
