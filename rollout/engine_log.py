"""Why a vLLM engine did not start, read from the log of its process: its own error only says "see root cause above"."""

import re
from collections.abc import Iterable

HIDDEN_CAUSE = "See root cause above"
_ERROR = re.compile(r"(?:^|[\])] )((?:\w+\.)*\w*(?:Error|Exception)(?:: .*)?)$")  # after vLLM's prefixes of a line


def root_cause(lines: Iterable[str]) -> str | None:
    """The last error of a log that is not the one that hides its cause, as "ValueError: ..."; None if there is none."""
    errors = (match.group(1) for line in lines if (match := _ERROR.search(line.rstrip())))
    return next((error for error in reversed(list(errors)) if HIDDEN_CAUSE not in error), None)
