"""Problems and their tests by task id; immutable, and shared by the episodes of a process."""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from symtable import symtable

from envs.base import EnvError
from envs.held_out import splits_of


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

    @property
    def asked(self) -> frozenset[str]:
        """Names of Python's own that the solution defines anew, such as `sum` where `sum` is what is asked for."""
        return _own_names_of_python(self.solution)


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
    assert not texts[0] & texts[1]
    return Library(source=source, problems={**train, **validation}, splits=splits_of(train, validation))


@cache
def _own_names_of_python(program: str) -> frozenset[str]:
    """Those that a program binds at its top."""
    symbols = symtable(program, "program", "exec").get_symbols()
    return frozenset(vars(builtins)) & {symbol.get_name() for symbol in symbols if symbol.is_assigned()}
