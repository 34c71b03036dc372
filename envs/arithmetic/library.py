"""Questions and their answers by task id; immutable, and shared by the episodes of a process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envs.base import EnvError
from envs.held_out import splits_of

Grade = Callable[[str, str], bool | None]  # (right answer, answer) -> equal?; None: unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question and its right answer."""

    text: str
    """What the agent reads."""

    answer: str
    """The right answer."""

    depth: int | None
    """The number of operations; None if the file does not give it."""

    @property
    def kind(self) -> str:
        """ "depth 2", or "question"."""
        return "question" if self.depth is None else f"depth {self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # one object a source: compared and hashed as such
class Library:
    """All problems of one source."""

    source: str
    """The file, or "arithmetic" for generated problems; for error messages."""

    problems: Mapping[str, Problem]
    """Problems by task id."""

    splits: Mapping[str, tuple[str, ...]]
    """Task ids of train, validation, train_depthN and validation_depthN."""

    grade: Grade
    """Compares an answer with the right one."""

    def question(self, task_id: str) -> Problem:
        """The problem of a task. Raises EnvError for an unknown task id."""
        if task_id not in self.problems:
            raise EnvError(f"{self.source} has no question {task_id!r}; take a task id from tasks(split)")
        return self.problems[task_id]


def library(source: str, train: Mapping[str, Problem], validation: Mapping[str, Problem], grade: Grade) -> Library:
    """A library of two sets of problems, which must share neither ids nor questions."""
    questions = [{problem.text for problem in problems.values()} for problems in (train, validation)]
    assert not questions[0] & questions[1]
    return Library(source=source, problems={**train, **validation}, splits=splits_of(train, validation), grade=grade)
