"""ALFWorld: tasks in a household, played in text."""

from envs.alfworld.world import ALFWorld, Snapshot

__all__ = ["ALFWorld", "Snapshot"]
