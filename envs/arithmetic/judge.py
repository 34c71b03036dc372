"""A process of its own that compares answers by math-verify: a JSON line [gold, answer] in, a JSON line out.

true: equal; false: not; null: math-verify reads no expression in one of them. `envs.arithmetic.compare` starts it and
gives it the seconds of processor time that a comparison may take.

An answer such as 99999999! keeps sympy busy for hours or fills any memory, and neither a thread nor math-verify's own
signals can stop it in the middle of a product. So the kernel ends the process when a comparison takes longer, and there
is a limit of memory.
"""

# math-verify and sympy are untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

import json
import logging
import resource
import signal
import sys
from typing import Any

from math_verify import parse, verify

MEMORY_BYTES = 4 * 2**30


def main(cpu_seconds: float) -> None:
    """Answer until standard input ends."""
    logging.disable()  # math-verify warns that it was given no time limit
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES if most == resource.RLIM_INFINITY else most, most))
    print(json.dumps("ready"), flush=True)  # noqa: T201
    for line in sys.stdin:
        gold, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        told = compare(gold, answer)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        print(json.dumps(told), flush=True)  # noqa: T201


def compare(gold: str, answer: str) -> bool | None:
    """Whether an answer equals the right one; None where one of them is no expression."""
    right, given = _expression(gold), _expression(answer)
    return verify(right, given, timeout_seconds=0) if right and given else None


def _expression(text: str) -> list[Any]:
    """The whole text as one expression; without dollars math-verify would look for the last number in it."""
    return parse(f"${text.strip().strip('$')}$", fallback_mode="no_fallback", parsing_timeout=0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
