"""Reasoning Gym: the procedural datasets of the package `reasoning-gym`, with its own scoring."""

from envs.questions import Snapshot
from envs.reasoning.prompt import DIALECT
from envs.reasoning.world import ReasoningGym
from envs.spec import GymSpec, WorldSpec

__all__ = ["WORLD", "ReasoningGym", "Snapshot"]

WORLD = WorldSpec(
    name="reasoning_gym",
    make=ReasoningGym,
    dialect=DIALECT,
    gym=GymSpec(id="stepcredit/ReasoningGym-v0", max_observation=2**16, charset=None),
)
