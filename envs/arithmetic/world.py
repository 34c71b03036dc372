"""Arithmetic: one question a task, one turn to answer it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.arithmetic.answer import is_answer
from envs.arithmetic.generate import Spec, generated
from envs.arithmetic.library import Library
from envs.arithmetic.questions import read_library
from envs.base import Ending, EnvError, EnvStep

_TOLD = {True: "Right.", False: "Wrong.", None: "This is no answer."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode: the question asked, or what its answer led to."""

    task_id: str
    last: EnvStep


class Arithmetic:
    """One question at a time. Every episode takes one turn; `seed` of `reset` changes nothing.

    questions: a JSONL file of questions and answers, compared by math-verify; held_out: another one for `validation`,
    by default a tenth of the first. Without questions, problems are generated and their answers compared as exact
    numbers: `train` and `validation` of them for each of the forms ("expression", "story") and depths (operations, 1 to
    8), with numbers up to `largest`, by `seed`.
    Raises EnvError for files that are missing or broken, and for options out of range.
    """

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
        self._now: Snapshot | None = None

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of train, validation, train_depthN or validation_depthN, in a fixed order."""
        splits = self._library.splits
        if split not in splits:
            raise EnvError(f"arithmetic has no split {split!r}; choose one of {', '.join(splits)}")
        return splits[split]

    def kind(self, task_id: str) -> str:
        """ "depth 2" for a question that takes two operations; "question" where the file does not tell."""
        return self._library.problem(task_id).kind

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Ask the question. Raises EnvError for an unknown task id."""
        self.close()
        question = self._library.problem(task_id).question
        return self.restore(Snapshot(task_id=task_id, last=EnvStep(observation=question, state_key=question)))

    def step(self, action: str) -> EnvStep:
        """Take the answer, whatever it is; what is none (see `answer.is_answer`) is as wrong as a wrong one.

        The right answer is not told. Raises EnvError before `reset` and after the end.
        """
        now = self.snapshot()
        if now.last.ending is not None:
            raise EnvError(f"the episode of {now.task_id} ended ({now.last.ending}); reset before the next step")
        right = self._library.problem(now.task_id).answer
        equal = self._library.grade(right, action) if is_answer(action) else None
        text, won = _TOLD[equal], equal is True
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else Ending.FAILURE,
            won=won,
            score=float(won),
        )
        return self.restore(Snapshot(task_id=now.task_id, last=last))

    def expert(self) -> Iterator[str]:
        """The right answer, while the question stands."""
        now = self.snapshot()
        if now.last.ending is None:
            yield self._library.problem(now.task_id).answer

    def snapshot(self) -> Snapshot:
        """The episode as it stands. Raises EnvError before `reset`."""
        if self._now is None:
            raise EnvError("no episode is under way; reset arithmetic with a task id first")
        return self._now

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Go on from a snapshot; gives the step it was taken after."""
        self._library.problem(snapshot.task_id)
        self._now = snapshot
        return snapshot.last

    def close(self) -> None:
        """Forget the episode; the questions stay for the others of this process."""
        self._now = None


def _library(questions: str | Path | None, held_out: str | Path | None, spec: Spec) -> Library:
    if questions is not None:
        return read_library(Path(questions).resolve(), None if held_out is None else Path(held_out).resolve())
    if held_out is not None:
        raise EnvError(f"arithmetic was given held_out={str(held_out)!r} but no questions; give questions=FILE too")
    return generated(spec)
