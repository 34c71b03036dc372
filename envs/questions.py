"""An optional base class for worlds of questions whose episode is one answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from envs.base import Definition, Ending, EnvError, EnvStep, no_split
from envs.episode import Episode


class Question(Protocol):
    """What `OneAnswer` needs of a question."""

    @property
    def text(self) -> str:
        """What the agent reads."""
        ...

    @property
    def answer(self) -> str | None:
        """The right answer; None where answers can only be scored."""
        ...

    @property
    def kind(self) -> str:
        """The kind that results are counted by."""
        ...


class Questions(Protocol):
    """What `OneAnswer` needs of a source of questions."""

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """Task ids by split, in a fixed order."""
        ...

    def question(self, task_id: str) -> Question:
        """The question of a task. Raises EnvError for an unknown task id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode: the question, or the result of its answer."""

    task_id: str
    """The question's id."""

    last: EnvStep
    """What `reset` or `step` returned."""


class OneAnswer(Episode[Snapshot]):
    """One question at a time. Every episode takes one turn; the `seed` of `reset` has no effect.

    A world states its `name` and writes `step` as `return self.answered(TEXT, SCORE)`.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of a split in a fixed order. Raises EnvError for an unknown split."""
        splits = self._questions.splits
        if split not in splits:
            raise no_split(self.name, split, splits)
        return splits[split]

    def kind(self, task_id: str) -> str:
        """The question's kind. Raises EnvError for an unknown task id."""
        return self._questions.question(task_id).kind

    def definition(self, task_id: str) -> Definition:
        """The question and its right answer."""
        question = self._questions.question(task_id)
        return Definition(content={"question": question.text, "answer": question.answer})

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Ask the question. Raises EnvError for an unknown task id."""
        del seed
        self.close()
        text = self._questions.question(task_id).text
        return self.restore(Snapshot(task_id=task_id, last=EnvStep(observation=text, state_key=text)))

    def answered(self, text: str, score: float) -> EnvStep:
        """End the episode with what the world says to the answer, and its score in [0, 1]; only 1 wins."""
        won = score == 1.0
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else Ending.FAILURE,
            won=won,
            score=score,
        )
        return self.restore(replace(self.playing(), last=last))

    def expert(self) -> Iterator[str]:
        """The right answer; nothing once the question is answered. Raises EnvError where there is none."""
        if self.is_over():
            return
        question = self._questions.question(self.snapshot().task_id)
        if question.answer is None:
            raise EnvError(
                f"{self.name} has no answer to a question of {question.kind}, only scores: no expert plays it"
            )
        yield question.answer

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot, and return its `last`. Raises EnvError if these questions lack its task."""
        self._questions.question(snapshot.task_id)
        return super().restore(snapshot)
