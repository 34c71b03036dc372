"""How long an endpoint asks to wait, by the headers of a reply that turns a request away."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LIMITED = ("requests", "tokens")
"""What OpenAI's endpoints count: x-ratelimit-remaining-* and x-ratelimit-reset-*."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, above 0; None if the headers do not say, or say that the time has come.

    Servers that stay overloaded ask for 0 s again and again: the caller then waits as where nothing is asked.
    Retry-After (and retry-after-ms) has the word; without it, the reset of each limit of which nothing remains.

    >>> wait_asked({"retry-after": "3"}), wait_asked({"retry-after-ms": "250", "retry-after": "1"}), wait_asked({})
    (3.0, 0.25, None)
    >>> wait_asked({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s",
    ...             "x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "1h"})
    90.5
    >>> wait_asked({"retry-after": "0"}), wait_asked({"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT"})
    (None, None)
    """
    return _wait_said(headers) or None


def _wait_said(headers: Mapping[str, str]) -> float | None:
    """As `wait_asked`, where 0 is 0."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    if (header := headers.get("retry-after")) is not None:
        seconds = _number(header)
        return seconds if seconds is not None else _seconds_until(header)
    waits = [
        _seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in LIMITED
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str | None) -> float | None:
    """A number of 0 or more; None for what is none."""
    return float(text) if text is not None and re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else None


def _seconds(text: str) -> float | None:
    """A duration such as "1m30.5s" or "120ms"; a bare number is in seconds.

    >>> _seconds("1m30.5s"), _seconds("120ms"), _seconds("2"), _seconds("soon")
    (90.5, 0.12, 2.0, None)
    """
    bare = _number(text)
    if bare is not None or not re.fullmatch(rf"(?:{_PART.pattern})+", text.strip()):
        return bare
    return sum(float(amount) * UNITS[unit] for amount, unit in _PART.findall(text))


def _seconds_until(date: str) -> float | None:
    """Seconds until a date as HTTP writes it; 0 for one that has passed, None for what is no date."""
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
