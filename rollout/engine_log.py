"""Why a vLLM engine did not start, read from the log of its process: its own error only says "see root cause above"."""

import re
from collections.abc import Iterable

HIDDEN_CAUSE = "See root cause above"
POINTERS = HIDDEN_CAUSE, "See stack trace for root cause"
"""What the errors say that hide their cause: those of vLLM's core, and of its workers' executor."""
_ERROR = re.compile(r"(?:^|[\])] )((?:\w+\.)*\w*(?:Error|Exception)(?:: .*)?)$")  # after vLLM's prefixes of a line


def root_cause(lines: Iterable[str]) -> str | None:
    """The last error of a log that does not hide its cause, as "ValueError: ..."; None if there is none."""
    errors = (match.group(1) for line in lines if (match := _ERROR.search(line.rstrip())))
    return next((error for error in reversed(list(errors)) if not any(one in error for one in POINTERS)), None)
