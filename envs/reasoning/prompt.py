"""How the prompts speak to Reasoning Gym."""

from envs.prompts import Dialect

LONGEST = 10_000  # characters


def is_answer(text: str) -> bool:
    """Whether a text may be an answer: puzzles want grids and lists too, so that only its length says it."""
    return 0 < len(text.strip()) <= LONGEST


DIALECT = Dialect(
    introduction="You answer a question in one turn. Your action is the answer, in the form that is asked for, alone.",
    grammar=is_answer,
    many_lines=True,
)
