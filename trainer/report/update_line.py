"""What the console says of an update: one line of 80 columns, and another where something was started anew."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from trainer.report.progress import duration

MEAN_OF = 10  # updates


class UpdateLines:
    """Writes the lines of a run's updates; it remembers the last successes and when the run began."""

    def __init__(self, start: int, updates: int, clock: Callable[[], float] = time.monotonic) -> None:
        """start: the last update that is done already. updates: the last one of the run."""
        self._start, self._updates, self._clock = start, updates, clock
        self._begun = clock()
        self._successes = deque[float](maxlen=MEAN_OF)

    def lines(self, number: int, numbers: Mapping[str, float], seconds: Mapping[str, float]) -> list[str]:
        """The lines of an update that has ended. numbers: as they are logged. seconds: of each lap."""
        self._successes.append(numbers["rollout/success"])
        mean, whole = sum(self._successes) / len(self._successes), sum(seconds.values())
        slowest = max(seconds, key=lambda lap: seconds[lap])
        num_left = self._updates - number
        parts = [
            f"update {number}/{self._updates}".ljust(len(f"update {self._updates}/{self._updates}")),
            f"success {100 * numbers['rollout/success']:5.1f} %, mean {100 * mean:3.0f}",
            f"{_short(whole)} ({slowest} {100 * seconds[slowest] / whole:.0f} %)",
        ]
        if num_left:
            parts.append(f"{duration((self._clock() - self._begun) / (number - self._start) * num_left)} left")
        return ["  ".join(parts), *self._anew(number, numbers)]

    def _anew(self, number: int, numbers: Mapping[str, float]) -> list[str]:
        counts = {"engine": numbers["rollout/engine_restarts"], "env worker": numbers["rollout/worker_restarts"]}
        anew = [f"{count:.0f} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count]
        return [f"update {number}: started anew: {', '.join(anew)}"] if anew else []


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else duration(seconds)
