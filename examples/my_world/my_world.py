"""A world of one's own: guess a number; the answers are "higher" and "lower"."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envs import Ending, EnvError, EnvStep, Episode, WorldSpec
from envs.prompts import Dialect

GUESS = re.compile(r"guess (\d{1,3})")
TURNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The whole episode at one point, so that it can be snapshotted and restored."""

    task_id: str
    """Such as "number-5": the number to find."""

    low: int
    """The smallest number that is still possible."""

    high: int
    """The largest number that is still possible."""

    turns: int
    """Guesses made so far."""

    last: EnvStep
    """What the agent was last shown."""


class GuessNumber(Episode[Moment]):
    """Find a number between 1 and `largest` in eight guesses."""

    name = "guess_number"

    def __init__(self, *, largest: int = 31) -> None:
        if not 2 <= largest <= 999:
            raise EnvError(f"largest={largest}: give a number from 2 to 999")
        self._largest = largest

    def tasks(self, split: str) -> Sequence[str]:
        starts = {"train": 1, "test": 2}  # odd numbers are trained on, even ones held out
        if split not in starts:
            raise EnvError(f"guess_number has no split {split!r}; choose train or test")
        return [f"number-{number}" for number in range(starts[split], self._largest + 1, 2)]

    def kind(self, task_id: str) -> str:
        """The label that results are reported under."""
        return "low half" if self._number(task_id) <= self._largest // 2 else "high half"

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        self.close()  # if the task id is refused, no episode is under way
        self._number(task_id)
        text = f"Find the number between 1 and {self._largest}."
        return self._show(task_id, low=1, high=self._largest, turns=0, text=text)

    def step(self, action: str) -> EnvStep:
        now = self.playing()
        number, found = self._number(now.task_id), GUESS.fullmatch(action)
        if found is None:
            text = f"You cannot {action!r}. Write: guess 5"
            return self._show(now.task_id, low=now.low, high=now.high, turns=now.turns + 1, text=text)
        guess = int(found[1])
        if guess == number:
            text = f"{guess} is right."
            return self._show(now.task_id, low=guess, high=guess, turns=now.turns + 1, text=text, won=True)
        low = max(now.low, guess + 1) if guess < number else now.low
        high = min(now.high, guess - 1) if guess > number else now.high
        text = f"{guess} is wrong: {'higher' if guess < number else 'lower'}."
        return self._show(now.task_id, low=low, high=high, turns=now.turns + 1, text=text)

    def expert(self) -> Iterator[str]:
        """Bisection; each action is asked for after the one before was taken."""
        while not self.is_over():
            now = self.snapshot()
            yield f"guess {(now.low + now.high) // 2}"

    def _show(self, task_id: str, *, low: int, high: int, turns: int, text: str, won: bool = False) -> EnvStep:
        """The state is what is still possible: two rollouts that know the same stand in the same state."""
        ending = Ending.SUCCESS if won else Ending.LIMIT if turns == TURNS else None
        state = f"{low}-{high}"
        last = EnvStep(observation=text, state_key=state, reward=float(won), ending=ending, won=won, score=float(won))
        return self.restore(Moment(task_id=task_id, low=low, high=high, turns=turns, last=last))

    def _number(self, task_id: str) -> int:
        if task_id not in (*self.tasks("train"), *self.tasks("test")):
            raise EnvError(f"guess_number has no task {task_id!r}; the first is 'number-1'")
        return int(task_id.removeprefix("number-"))


WORLD = WorldSpec(
    name="guess_number",
    make=GuessNumber,
    dialect=Dialect(
        introduction="You find a hidden number. Each turn, write one guess, such as: guess 5",
        grammar=lambda line: GUESS.fullmatch(line) is not None,
    ),
)
