"""How the prompts speak to Code."""

from envs.code.answer import is_program
from envs.prompts import Dialect

DIALECT = Dialect(
    introduction=(
        "You write Python functions. Your action is the whole program: the function that is asked for, with all that "
        "it needs, and nothing else. It may use Python's standard library. Tests judge it, and you see some of them. "
        "If one fails, you may try again with a whole program."
    ),
    grammar=is_program,
    many_lines=True,
)
