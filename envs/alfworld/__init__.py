"""ALFWorld: tasks in a household, played in text."""

from envs.alfworld.prompt import DIALECT
from envs.alfworld.world import ALFWorld, Snapshot
from envs.spec import ASCII, GymSpec, WorldSpec

__all__ = ["WORLD", "ALFWorld", "Snapshot"]

WORLD = WorldSpec(
    name="alfworld",
    make=ALFWorld,
    dialect=DIALECT,
    gym=GymSpec(id="stepcredit/ALFWorld-v0", max_observation=2**16, charset=ASCII),  # lists one room or receptacle
)
