"""Arithmetic: one question a task, one turn to answer it."""

from pathlib import Path

from envs.arithmetic.answer import is_answer
from envs.arithmetic.generate import Spec, generated
from envs.arithmetic.library import Library
from envs.arithmetic.questions import read_library
from envs.base import EnvError, EnvStep
from envs.questions import OneAnswer

_ANSWERS = {True: "Right.", False: "Wrong.", None: "This is no answer."}


class Arithmetic(OneAnswer):
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
        spec = Spec(
            seed=seed,
            forms=tuple(forms),
            depths=tuple(depths),
            largest=largest,
            train=train,
            validation=validation,
        )
        self._library = _library(questions, held_out, spec)
        super().__init__(self._library)

    def step(self, action: str) -> EnvStep:
        """Grade the answer. A text that is no answer (see `answer.is_answer`) is wrong too.

        The observation does not reveal the right answer. Raises EnvError before `reset` and after the end.
        """
        right = self._library.question(self.playing().task_id).answer
        equal = self._library.grade(right, action) if is_answer(action) else None
        return self.answered(_ANSWERS[equal], float(equal is True))


def _library(questions: str | Path | None, held_out: str | Path | None, spec: Spec) -> Library:
    if questions is not None:
        return read_library(Path(questions).resolve(), None if held_out is None else Path(held_out).resolve())
    if held_out is not None:
        raise EnvError(f"arithmetic was given held_out={str(held_out)!r} but no questions; give questions=FILE too")
    return generated(spec)
