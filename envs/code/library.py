"""Problems and their tests by task id; immutable, and shared by the episodes of a process."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envs.base import EnvError

SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A function that is asked for, and the tests that judge it."""

    text: str
    """What the agent reads."""

    tests: tuple[str, ...]
    """Statements, each one test: it passes unless it raises."""

    setup: str
    """What runs after the program and before the tests."""

    solution: str
    """A program that passes them."""

    depth: int | None
    """Number of steps of a generated function; None for a problem of a file."""

    @property
    def kind(self) -> str:
        """ "depth 2", or "problem"."""
        return "problem" if self.depth is None else f"depth {self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # one object a source: compared and hashed as such
class Library:
    """All problems of one source."""

    source: str
    """The file, or "code" for generated problems; for error messages."""

    problems: Mapping[str, Problem]
    """Problems by task id."""

    splits: Mapping[str, tuple[str, ...]]
    """Task ids of train, validation, train_depthN and validation_depthN."""

    def problem(self, task_id: str) -> Problem:
        """The problem of a task. Raises EnvError for an unknown task id."""
        if task_id not in self.problems:
            raise EnvError(f"{self.source} has no problem {task_id!r}; take a task id from tasks(split)")
        return self.problems[task_id]


def library(source: str, train: Mapping[str, Problem], validation: Mapping[str, Problem]) -> Library:
    """A library of two sets of problems, which must share neither ids nor texts."""
    texts = [{problem.text for problem in problems.values()} for problems in (train, validation)]
    assert not train.keys() & validation.keys()
    assert not texts[0] & texts[1]
    splits = {name: tuple(problems) for name, problems in zip(SPLITS, (train, validation), strict=True)}
    problems = {**train, **validation}
    for depth in sorted({problem.depth for problem in problems.values() if problem.depth is not None}):
        of_depth = {f"{name}_depth{depth}": _of_depth(problems, splits[name], depth) for name in SPLITS}
        splits |= {name: task_ids for name, task_ids in of_depth.items() if task_ids}
    return Library(source=source, problems=problems, splits=splits)


def _of_depth(problems: Mapping[str, Problem], task_ids: Iterable[str], depth: int) -> tuple[str, ...]:
    return tuple(task_id for task_id in task_ids if problems[task_id].depth == depth)
