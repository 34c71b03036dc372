"""WebShop: an instruction, a shop to search, and a score for what is bought."""

from envs.webshop.world import Snapshot, WebShop

__all__ = ["Snapshot", "WebShop"]
