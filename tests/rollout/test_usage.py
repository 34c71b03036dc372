"""Time in which an engine has work, by a clock that the test turns."""

from contextlib import suppress

from rollout.messages import Answer
from rollout.usage import UsageAccount


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_engine_is_busy_while_it_has_a_request_and_counts_each_of_several() -> None:
    clock = Clock()
    account = UsageAccount(2, clock)
    with account.asking(0):
        clock.now = 2.0
        with account.asking(0, 3):
            clock.now = 4.0
    clock.now = 8.0
    usage = account.usage()
    # Engine 0: busy 4 of 8 s, with 2 * 1 + 2 * 4 request-seconds; engine 1: idle.
    assert (usage.busy, usage.running) == (4 / 8 / 2, 10 / 8 / 2)


def test_a_request_that_fails_is_not_under_way_any_more() -> None:
    clock = Clock()
    account = UsageAccount(1, clock)
    with suppress(RuntimeError), account.asking(0):
        clock.now = 1.0
        raise RuntimeError
    clock.now = 4.0
    assert account.usage().busy == 0.25


def test_cached_tokens_are_those_of_the_answered_prompts() -> None:
    account = UsageAccount(1, Clock())
    account.count(8, Answer([1], [-0.5], "stop", 0, 0))
    account.count(24, Answer([1], [-0.5], "stop", 0, 16))
    assert (account.usage().prompt_tokens, account.usage().cached_tokens) == (32, 16)
