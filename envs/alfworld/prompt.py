"""How the prompts speak to ALFWorld."""

import re

from envs.prompts import Dialect

_NAME = r"[a-z]+ \d+"
_COMMAND = re.compile(
    rf"look|inventory|help|(?:go to|open|close|examine|use) {_NAME}"
    rf"|take {_NAME} from {_NAME}|(?:move {_NAME} to|put {_NAME} in/on) {_NAME}"
    rf"|(?:clean|heat|cool|slice) {_NAME} with {_NAME}"
)


def is_command(line: str) -> bool:
    """Whether a line has the form of a command; whether it does anything depends on the state."""
    return _COMMAND.fullmatch(line) is not None


# The papers' public code lists the admissible actions without `help`, and lower-cases the answer (GiGPO 2505.10978,
# appendix).
DIALECT = Dialect(
    introduction=(
        "You do a task in a household, in text. Places and things are named by a word and a number. The commands are:\n"
        "go to PLACE, open PLACE, close PLACE, examine PLACE or THING, look, inventory: move and see.\n"
        "take THING from PLACE, move THING to PLACE: you can hold one thing at a time.\n"
        "clean THING with PLACE, heat THING with PLACE, cool THING with PLACE: at a sinkbasin, a microwave, a fridge.\n"
        "use THING: switch on a lamp. slice THING with THING: holding a knife."
    ),
    grammar=is_command,
    lower_case=True,
    hidden=frozenset({"help"}),
    strict=True,
)
