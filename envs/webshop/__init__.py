"""WebShop: an instruction, a shop to search, and a score for the purchase."""

from envs.spec import GymSpec, WorldSpec
from envs.webshop.prompt import DIALECT
from envs.webshop.world import Snapshot, WebShop

__all__ = ["WORLD", "Snapshot", "WebShop"]

WORLD = WorldSpec(
    name="webshop",
    make=WebShop,
    dialect=DIALECT,
    # The longest descriptions have some ten thousand characters. Text from the web may hold any character.
    gym=GymSpec(id="stepcredit/WebShop-v0", max_observation=2**20, charset=None),
)
