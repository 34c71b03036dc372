"""What the requests to an endpoint used, by the endpoint's own account, and what that costs."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

from annotated_types import Ge

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPrices:
    """What an endpoint charges, in USD for a million tokens."""

    input: Annotated[float, Ge(0)]
    """For prompts."""

    output: Annotated[float, Ge(0)]
    """For answers, their thoughts included."""

    cached_input: Annotated[float | None, Ge(0)] = None
    """For the part of prompts that the endpoint had in its cache; null charges it as the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUsage:
    """The sum over some replies."""

    requests: int = 0
    """Replies, those to rollouts that failed later included."""

    input_tokens: int = 0
    """Tokens of the prompts."""

    cached_tokens: int = 0
    """Those of `input_tokens` that the endpoint had in its cache."""

    output_tokens: int = 0
    """Tokens of the answers, their thoughts included."""

    untold: int = 0
    """Replies that did not say how many tokens they used."""

    def __add__(self, other: "EndpointUsage") -> "EndpointUsage":
        return EndpointUsage(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )

    def cost(self, prices: EndpointPrices | None) -> float | None:
        """In USD; None where the prices are not known, or where a reply did not say what it used.

        >>> used = EndpointUsage(requests=2, input_tokens=3_000_000, cached_tokens=1_000_000, output_tokens=500_000)
        >>> used.cost(EndpointPrices(input=2, output=8)), used.cost(EndpointPrices(input=2, output=8, cached_input=1))
        (10.0, 9.0)
        >>> used.cost(None)
        """
        if prices is None or self.untold:
            return None
        cached = prices.input if prices.cached_input is None else prices.cached_input
        fresh = self.input_tokens - self.cached_tokens
        return (fresh * prices.input + self.cached_tokens * cached + self.output_tokens * prices.output) / MILLION

    def words(self, prices: EndpointPrices | None) -> str:
        """What a user reads.

        >>> EndpointUsage(requests=2, input_tokens=3000, output_tokens=50).words(EndpointPrices(input=2, output=8))
        '2 requests, 3000 tokens in, 50 tokens out, 0.0064 USD'
        >>> EndpointUsage(requests=2, untold=1).words(EndpointPrices(input=2, output=8))
        '2 requests, 0 tokens in, 0 tokens out, 1 did not say its tokens, so the cost is not known'
        """
        cost = self.cost(prices)
        words = f"{self.requests} requests, {self.input_tokens} tokens in, {self.output_tokens} tokens out"
        if self.untold:
            words += f", {self.untold} did not say {'its' if self.untold == 1 else 'their'} tokens"
            return f"{words}, so the cost is not known" if prices else words
        return words if cost is None else f"{words}, {cost:.4f} USD"


def usage_of(reply: Any) -> EndpointUsage:
    """What one reply used, by its field `usage`."""
    usage = getattr(reply, "usage", None)
    input_tokens, output_tokens = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    if not (isinstance(input_tokens, int) and isinstance(output_tokens, int)):
        return EndpointUsage(requests=1, untold=1)
    cached_tokens = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None) or 0
    return EndpointUsage(
        requests=1, input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
    )
