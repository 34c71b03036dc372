"""How the prompts speak to TextCraft."""

from envs.prompts import Dialect
from envs.textcraft.commands import is_command

DIALECT = Dialect(
    introduction=(
        "You craft items in a text world. Its commands are:\n"
        "get N ITEM: fetch an item that no command crafts.\n"
        "craft N ITEM using N ITEM, N ITEM: carry out one of the crafting commands listed below, with exactly its "
        "counts. Where it names a kind, such as planks, use one item of that kind.\n"
        "inventory: list what you hold."
    ),
    grammar=is_command,
)
