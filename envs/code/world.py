"""Code: one function a task, one turn or several to write it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envs.base import Definition, Ending, EnvError, EnvStep, no_split
from envs.code.answer import is_program, program_of
from envs.code.files import read_library
from envs.code.generate import Spec, generated
from envs.code.library import Library, Problem
from envs.code.sandbox import Limits, Verdict, run
from envs.episode import Episode

NO_PROGRAM = "This is no program that defines a function."


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode: the problem, and how its last program was judged."""

    task_id: str
    """The problem's id."""

    steps: int
    """Steps taken so far."""

    last: EnvStep
    """What `reset` or `step` returned."""


class Code(Episode[Snapshot]):
    """One function at a time; the `seed` of `reset` has no effect.

    max_steps: programs that the agent may try. cpu_seconds, memory_mib: what one program and its tests may take.
    shown_tests: tests that the first observation shows.

    problems: a JSONL file in the format of MBPP or HumanEval. held_out: another file, for `validation`; None takes a
    tenth of `problems`.

    Without a file, functions are generated:
    seed: of the generator. depths: numbers of steps, each 1 to 8. train, validation: problems of each depth at most.

    Raises EnvError for a missing or broken file, and for options out of range.
    """

    name = "code"

    def __init__(
        self,
        *,
        problems: str | Path | None = None,
        held_out: str | Path | None = None,
        seed: int = 0,
        depths: tuple[int, ...] = (1, 2, 3),
        train: int = 200,
        validation: int = 25,
        max_steps: int = 3,
        shown_tests: int = 1,
        cpu_seconds: int = 2,
        memory_mib: int = 512,
    ) -> None:
        for name, value, least in (("max_steps", max_steps, 1), ("shown_tests", shown_tests, 0)):
            if value < least:
                raise EnvError(f"code cannot run with {name}={value}; give {least} or more")
        self._limits = Limits(cpu_seconds=cpu_seconds, memory_mib=memory_mib)
        self._max_steps, self._shown_tests = max_steps, shown_tests
        spec = Spec(seed=seed, depths=tuple(depths), train=train, validation=validation)
        self._library = _library(problems, held_out, spec)

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids of train, validation, train_depthN or validation_depthN, in a fixed order."""
        splits = self._library.splits
        if split not in splits:
            raise no_split("code", split, splits)
        return splits[split]

    def kind(self, task_id: str) -> str:
        """ "depth 2" for a generated function of two steps; "problem" for one of a file."""
        return self._library.problem(task_id).kind

    def definition(self, task_id: str) -> Definition:
        """The text and the tests."""
        problem = self._library.problem(task_id)
        return Definition(content={"text": problem.text, "setup": problem.setup, "tests": list(problem.tests)})

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Ask for the function. Raises EnvError for an unknown task id."""
        self.close()
        problem = self._library.problem(task_id)
        text = "\n".join([problem.text, *_shown(problem, self._shown_tests)])
        return self.restore(Snapshot(task_id=task_id, steps=0, last=EnvStep(observation=text, state_key=text)))

    def step(self, action: str) -> EnvStep:
        """Run the program in the action against all tests; what a hidden test says stays hidden.

        An action without a program (see `answer.is_program`) fails without being run. Raises EnvError before `reset`
        and after the end.
        """
        now = self.playing()
        problem, steps = self._library.problem(now.task_id), now.steps + 1
        text, score = NO_PROGRAM, 0.0
        if is_program(action):
            verdicts = run(
                program_of(action),
                setup=problem.setup,
                tests=problem.tests,
                limits=self._limits,
                asked=problem.asked,
            )
            text = _said(problem.tests, verdicts, _shown(problem, self._shown_tests))
            score = sum(verdict.passed for verdict in verdicts) / len(verdicts)
        won = score == 1.0
        over = Ending.LIMIT if steps == self._max_steps else None
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else over,
            won=won,
            score=score,
        )
        return self.restore(replace(now, steps=steps, last=last))

    def expert(self) -> Iterator[str]:
        """The solution; nothing once the episode is over."""
        if not self.is_over():
            yield self._library.problem(self.snapshot().task_id).solution

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot, and return its `last`. Raises EnvError if these problems lack its task."""
        self._library.problem(snapshot.task_id)
        return super().restore(snapshot)


def _library(problems: str | Path | None, held_out: str | Path | None, spec: Spec) -> Library:
    if problems is not None:
        return read_library(Path(problems).resolve(), None if held_out is None else Path(held_out).resolve())
    if held_out is not None:
        raise EnvError(f"code was given held_out={str(held_out)!r} but no problems; give problems=FILE too")
    return generated(spec)


def _shown(problem: Problem, most: int) -> list[str]:
    """The first tests that say what they want; a call of a check does not."""
    return [test for test in problem.tests if test.startswith("assert")][:most]


def _said(tests: Sequence[str], verdicts: Sequence[Verdict], shown: Sequence[str]) -> str:
    """How many tests failed, and the first that may be told: a shown one, or what went wrong before any test.

    A policy that saw each test that fails would write a program that knows their results, and be paid for it.
    """
    failed = [(test, verdict.text) for test, verdict in zip(tests, verdicts, strict=True) if not verdict.passed]
    if not failed:
        return f"All {len(verdicts)} tests passed."
    said = f"{len(failed)} of {len(verdicts)} tests failed"
    told = [text for test, text in failed if test in shown or not text.startswith(test)]
    return f"{said}:\n{told[0]}" if told else f"{said}, none that you see."
