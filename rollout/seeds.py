"""Seeds are derived from what they are for, not drawn: equal parts give an equal seed in any process."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**31) from the parts' values and order; stable across processes and Python versions.

    >>> derive_seed(1, "task", 0) == derive_seed(1, "task", 0)
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % 2**31
