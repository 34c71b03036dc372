"""The parameters of a chat-completions request, for servers that name them otherwise or know others."""

from collections.abc import Mapping
from typing import Any

from rollout.types import Sampling

SENT = ("temperature", "top_p", "max_completion_tokens", "seed")
"""The parameters that every request carries, as OpenAI names them."""
FIXED = ("model", "messages", "n", "stream")
"""The parameters that no option may change."""


def check_options(options: Mapping[str, Any]) -> None:
    """Raises ValueError for an option that would change what is asked or break how the answer is read."""
    for name, value in options.items():
        if name in FIXED:
            raise ValueError(f"endpoint_options.{name}={value!r}: every request sets it itself; leave it out")
        if name in SENT and not (value is None or isinstance(value, str)):
            raise ValueError(
                f"endpoint_options.{name}={value!r}: write the name under which the server knows it, or null to leave "
                "it out of the requests; its value follows from sampling and seed"
            )


def parameters(options: Mapping[str, Any], sampling: Sampling, seed: int) -> dict[str, Any]:
    """The parameters of a request, by the server's names.

    >>> parameters({"max_completion_tokens": "max_tokens", "seed": None, "top_k": 8},
    ...            Sampling(temperature=0.5, max_tokens=7), seed=9)
    {'temperature': 0.5, 'top_p': 1.0, 'max_tokens': 7, 'top_k': 8}
    """
    values = dict(zip(SENT, (sampling.temperature, sampling.top_p, sampling.max_tokens, seed), strict=True))
    names = {name: options.get(name, name) for name in SENT}
    sent = {str(names[name]): value for name, value in values.items() if names[name] is not None}
    return sent | {name: value for name, value in options.items() if name not in SENT}
