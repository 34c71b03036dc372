"""The child process that compares answers by math-verify: it reads a JSON line [gold, answer] and writes a JSON line.

The reply is true if they are equal, false if not, and null if math-verify finds no expression in one of them.
`envs.arithmetic.compare` starts the process and passes the processor time that a comparison may take, in seconds.

An answer such as 99999999! keeps sympy busy for hours or fills any memory. Neither a thread nor math-verify's own
signals can interrupt a product. So the kernel kills the process when a comparison takes too long, and its memory is
limited.
"""

# math-verify and sympy are untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

import json
import logging
import resource
import signal
import sys
from typing import Any

try:
    from math_verify import parse, verify
except ModuleNotFoundError as error:
    if error.name == "math_verify":
        sys.exit(1)  # the process that started this one says it
    raise

MEMORY_BYTES = 4 * 2**30


def main(cpu_seconds: float) -> None:
    """Reply to each line until standard input ends."""
    logging.disable()  # math-verify warns that it was given no time limit
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES if most == resource.RLIM_INFINITY else most, most))
    print(json.dumps("ready"), flush=True)  # noqa: T201
    for line in sys.stdin:
        gold, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        equal = compare(gold, answer)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        print(json.dumps(equal), flush=True)  # noqa: T201


def compare(gold: str, answer: str) -> bool | None:
    """Whether an answer equals the right one; None if one of them is no expression."""
    right, other = _expression(gold), _expression(answer)
    return verify(right, other, timeout_seconds=0) if right and other else None


def _expression(text: str) -> list[Any]:
    """The whole text as one expression. Without the dollars math-verify would take the last number in it."""
    whole = text.strip().strip("$")
    return [] if "$" in whole else parse(f"${whole}$", fallback_mode="no_fallback", parsing_timeout=0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
