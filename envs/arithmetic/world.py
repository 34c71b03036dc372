"""Arithmetic: one question a task, one turn to answer it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envs.arithmetic.answer import is_answer
from envs.arithmetic.generate import Spec, generated
from envs.arithmetic.library import Library
from envs.arithmetic.questions import read_library
from envs.base import Definition, Ending, EnvError, EnvStep, no_split
from envs.episode import Episode

_ANSWERS = {True: "Right.", False: "Wrong.", None: "This is no answer."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode: the question, or the result of its answer."""

    task_id: str
    """The question's id."""

    last: EnvStep
    """What `reset` or `step` returned."""


class Arithmetic(Episode[Snapshot]):
    """One question at a time. Every episode takes one turn; the `seed` of `reset` has no effect.

    With a file of questions, math-verify compares the answers:
    questions: a JSONL file of questions and answers. held_out: another file, for `validation`; None takes a tenth of
    `questions`.

    Without a file, problems are generated and their answers are compared as exact numbers:
    seed: of the generator. forms: "expression", "story" or both. depths: numbers of operations, each 1 to 8.
    largest: the largest number given. train, validation: problems for each form and depth.

    Raises EnvError for a missing or broken file, and for options out of range.
    """

    name = "arithmetic"

    def __init__(
        self,
        *,
        questions: str | Path | None = None,
        held_out: str | Path | None = None,
        seed: int = 0,
        forms: tuple[str, ...] = ("expression", "story"),
        depths: tuple[int, ...] = (1, 2, 3, 4),
        largest: int = 20,
        train: int = 200,
        validation: int = 25,
    ) -> None:
        self._library = _library(
            questions,
            held_out,
            Spec(
                seed=seed,
                forms=tuple(forms),
                depths=tuple(depths),
                largest=largest,
                train=train,
                validation=validation,
            ),
        )

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of train, validation, train_depthN or validation_depthN, in a fixed order."""
        splits = self._library.splits
        if split not in splits:
            raise no_split("arithmetic", split, splits)
        return splits[split]

    def kind(self, task_id: str) -> str:
        """ "depth 2" for a question of two operations; "question" if the file gives no number of operations."""
        return self._library.problem(task_id).kind

    def definition(self, task_id: str) -> Definition:
        """The question and its right answer."""
        problem = self._library.problem(task_id)
        return Definition(content={"question": problem.question, "answer": problem.answer})

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Ask the question. Raises EnvError for an unknown task id."""
        self.close()
        question = self._library.problem(task_id).question
        return self.restore(Snapshot(task_id=task_id, last=EnvStep(observation=question, state_key=question)))

    def step(self, action: str) -> EnvStep:
        """Grade the answer. A text that is no answer (see `answer.is_answer`) is wrong too.

        The observation does not reveal the right answer. Raises EnvError before `reset` and after the end.
        """
        now = self.playing()
        right = self._library.problem(now.task_id).answer
        equal = self._library.grade(right, action) if is_answer(action) else None
        text, won = _ANSWERS[equal], equal is True
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else Ending.FAILURE,
            won=won,
            score=float(won),
        )
        return self.restore(replace(now, last=last))

    def expert(self) -> Iterator[str]:
        """The right answer; nothing once the question is answered."""
        if not self.is_over():
            yield self._library.problem(self.snapshot().task_id).answer

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot, and return its `last`. Raises EnvError if these questions lack its task."""
        self._library.problem(snapshot.task_id)
        return super().restore(snapshot)


def _library(questions: str | Path | None, held_out: str | Path | None, spec: Spec) -> Library:
    if questions is not None:
        return read_library(Path(questions).resolve(), None if held_out is None else Path(held_out).resolve())
    if held_out is not None:
        raise EnvError(f"arithmetic was given held_out={str(held_out)!r} but no questions; give questions=FILE too")
    return generated(spec)
