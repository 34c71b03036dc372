"""TextCraft: craft a goal item from a list of crafting commands."""

from envs.spec import ASCII, GymSpec, WorldSpec
from envs.textcraft.prompt import DIALECT
from envs.textcraft.world import Snapshot, TextCraft

__all__ = ["WORLD", "Snapshot", "TextCraft"]

# The first observation lists at most a few hundred recipes. The inventory, over 40 steps, grows at each step by less
# than the longest action.
WORLD = WorldSpec(
    name="textcraft",
    make=TextCraft,
    dialect=DIALECT,
    gym=GymSpec(id="stepcredit/TextCraft-v0", max_observation=2**16, charset=ASCII),
)
