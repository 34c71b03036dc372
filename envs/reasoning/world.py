"""Reasoning Gym as a world: one question a task, one turn to answer it, a score between 0 and 1."""

from collections.abc import Mapping
from typing import Any

from envs.base import EnvStep
from envs.questions import OneAnswer
from envs.reasoning.datasets import Spec, canonical, questions
from envs.reasoning.prompt import is_answer

DEFAULT: Mapping[str, Mapping[str, Any]] = {"chain_sum": {}}


class ReasoningGym(OneAnswer):
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
        self._source = questions(Spec(datasets=chosen, seed=seed, train=train, validation=validation))
        super().__init__(self._source)

    def step(self, action: str) -> EnvStep:
        """Score the answer as the package does. Only a score of 1 wins; an empty answer scores 0.

        The observation does not reveal the right answer. Raises EnvError before `reset` and after the end.
        """
        question = self._source.question(self.playing().task_id)
        score = self._source.score(question, action.strip()) if is_answer(action) else 0.0
        return self.answered("Right." if score == 1.0 else f"Score {score:.2f}.", score)
