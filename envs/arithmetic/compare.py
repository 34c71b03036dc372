"""Compares answers by math-verify in a child process, one for all episodes and threads of this process."""

import os
from functools import cache
from pathlib import Path

from envs.helper import Helper, HelperDied

_JUDGE = Path(__file__).with_name("judge.py")
_HELP = "math-verify could not be started: install it with pip install math-verify"


class Judge:
    """Compares answers by math-verify, in a process of its own.

    cpu_seconds: processor time for one comparison. The first takes a second or two more.
    """

    def __init__(self, *, cpu_seconds: float = 5.0) -> None:
        self._helper = Helper(_JUDGE, str(cpu_seconds), missing=_HELP)

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether an answer equals the right one; None if math-verify finds no expression in it.

        An answer that needs more processor time than allowed is wrong. Raises EnvError if the child cannot be started,
        and if something else killed it.
        """
        try:
            return self._helper.ask([gold, answer])
        except HelperDied as death:
            if death.out_of_time:
                return False
            raise


def judge() -> Judge:
    """The judge of this process. A forked process gets its own."""
    return _judge(os.getpid())


@cache
def _judge(process: int) -> Judge:
    return Judge()
