"""Reasoning Gym as a world: one question a task, one turn to answer it, a score between 0 and 1."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from envs.base import Definition, Ending, EnvError, EnvStep, no_split
from envs.episode import Episode
from envs.reasoning.datasets import Spec, canonical, questions
from envs.reasoning.prompt import is_answer

DEFAULT: Mapping[str, Mapping[str, Any]] = {"chain_sum": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode: the question, or the result of its answer."""

    task_id: str
    """The question's id."""

    last: EnvStep
    """What `reset` or `step` returned."""


class ReasoningGym(Episode[Snapshot]):
    """One question at a time. Every episode takes one turn; the `seed` of `reset` has no effect.

    datasets: names of the package's datasets, each with its settings, such as {"sudoku": {"min_empty": 20}}; None takes
    sums. seed: of their questions. train, validation: questions of each dataset at most.

    Raises EnvError for a dataset that does not exist, for settings that it refuses, and where the package is missing.
    """

    name = "reasoning_gym"

    def __init__(
        self,
        *,
        datasets: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        train: int = 500,
        validation: int = 100,
    ) -> None:
        chosen = canonical(DEFAULT if datasets is None else datasets)
        self._questions = questions(Spec(datasets=chosen, seed=seed, train=train, validation=validation))

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of train, validation, train_NAME or validation_NAME, in a fixed order."""
        splits = self._questions.splits
        if split not in splits:
            raise no_split("reasoning_gym", split, splits)
        return splits[split]

    def kind(self, task_id: str) -> str:
        """The dataset."""
        return self._questions.question(task_id).dataset

    def definition(self, task_id: str) -> Definition:
        """The question and the package's own answer."""
        question = self._questions.question(task_id)
        return Definition(content={"question": question.text, "answer": question.answer})

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Ask the question. Raises EnvError for an unknown task id."""
        self.close()
        text = self._questions.question(task_id).text
        return self.restore(Snapshot(task_id=task_id, last=EnvStep(observation=text, state_key=text)))

    def step(self, action: str) -> EnvStep:
        """Score the answer as the package does. Only a score of 1 wins; an empty answer scores 0.

        The observation does not reveal the right answer. Raises EnvError before `reset` and after the end.
        """
        now = self.playing()
        question = self._questions.question(now.task_id)
        score = self._questions.score(question, action.strip()) if is_answer(action) else 0.0
        won = score == 1.0
        text = "Right." if won else f"Score {score:.2f}."
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else Ending.FAILURE,
            won=won,
            score=score,
        )
        return self.restore(replace(now, last=last))

    def expert(self) -> Iterator[str]:
        """The package's own answer; nothing once the question is answered. Raises EnvError where there is none."""
        if self.is_over():
            return
        question = self._questions.question(self.snapshot().task_id)
        if question.answer is None:
            raise EnvError(f"reasoning-gym has no answers to {question.dataset}, only scores: no expert can play it")
        yield question.answer

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot, and return its `last`. Raises EnvError if these questions lack its task."""
        self._questions.question(snapshot.task_id)
        return super().restore(snapshot)
