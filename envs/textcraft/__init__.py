"""TextCraft: a goal to craft, recipes to craft it by, and a text command for everything."""

from envs.textcraft.world import Snapshot, TextCraft

__all__ = ["Snapshot", "TextCraft"]
