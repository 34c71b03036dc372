"""How the prompts speak to Arithmetic."""

from envs.arithmetic.answer import is_answer
from envs.prompts import Dialect

DIALECT = Dialect(
    introduction=(
        "You answer a question in one turn. Your action is the answer and nothing else: a number such as 42 or -7, "
        "or an expression in LaTeX where no number is the answer. It has no words and no units."
    ),
    grammar=is_answer,
)
