"""Where an endpoint is and with which key it is asked, as a user gives them."""

from collections.abc import Mapping
from urllib.parse import urlsplit


def is_url(text: str) -> bool:
    """Whether a text is an address that can be asked, and holds no secret: addresses are logged and reported.

    >>> is_url("http://localhost:8000/v1"), is_url("https://[::1]:8000/v1")
    (True, True)
    >>> is_url("localhost:8000"), is_url("http://"), is_url("http://localhost:99999"), is_url("http://a b")
    (False, False, False, False)
    >>> is_url("http://user:word@host/v1"), is_url("http://host/v1?key=abc")
    (False, False)
    """
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.port != 0  # looking at a port above 65535 raises
    except ValueError:
        return False
    secret = "@" in parts.netloc or bool(parts.query)
    return named and not secret and parts.scheme in ("http", "https") and text.isprintable() and " " not in text


def key_in(environment: Mapping[str, str], variable: str) -> str | None:
    """The key in a variable, without the blanks around it; None where there is none.

    Raises ValueError for a text that no request can carry.
    """
    key = environment.get(variable, "").strip()
    odd = next((place for place, character in enumerate(key, start=1) if not "!" <= character <= "~"), None)
    if odd is not None:
        raise ValueError(f"{variable} holds no key: its character {odd} is none that a key has; export the key alone")
    return key or None
