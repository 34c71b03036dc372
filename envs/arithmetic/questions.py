"""Reads a JSONL file of questions such as GSM8K's: each line is an object {"question": ..., "answer": ...}."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, cast

from envs.arithmetic.answer import is_answer, number
from envs.arithmetic.compare import judge
from envs.arithmetic.library import Library, Problem, library
from envs.base import EnvError
from envs.held_out import read_splits

_FINAL = "####"  # GSM8K (2110.14168): the working stands before it, the answer after it
_STEP = "<<"  # GSM8K writes each operation of the working between << and >>


@cache
def read_library(questions: Path, held_out: Path | None) -> Library:
    """The questions of a file. `validation` is the file `held_out`, or a tenth of `questions` if that is None.

    A task id is the digest of its question, and the tenth are the questions with the smallest digests. So neither
    depends on the order of the lines. Raises EnvError, with path and line number, for a broken file and for a question
    that is in both files.
    """
    train, validation = read_splits(_read, questions, held_out)
    return library(str(questions), train, validation, grade=lambda right, answer: judge().equal(right, answer))


def _read(path: Path) -> dict[str, tuple[int, Problem]]:
    """The questions of a file with their line numbers, by task id, in the order of the file."""
    if not path.is_file():
        raise EnvError(f"{path}: there is no such file; give arithmetic a JSONL file of questions and answers")
    entries: dict[str, tuple[int, Problem]] = {}
    for line, text in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            problem = _problem(json.loads(text))
            task_id = f"question-{hashlib.blake2b(problem.text.encode(), digest_size=8).hexdigest()}"
        except (ValueError, RecursionError) as error:
            raise EnvError(f"{path} line {line}: {error}; mend the line or take it out") from error
        first, same = entries.setdefault(task_id, (line, problem))
        if same != problem:
            raise EnvError(f"{path} line {line}: line {first} has another answer to the same question; take one out")
    if not entries:
        raise EnvError(f"{path}: holds no question; give arithmetic a JSONL file of questions and answers")
    return entries


def _problem(record: Any) -> Problem:
    """The problem of one line. Raises ValueError if it is not a question with an answer that can be compared."""
    if not isinstance(record, dict):
        raise ValueError('is no object {"question": ..., "answer": ...}')
    question, answer = (_text(cast(dict[str, Any], record), name) for name in ("question", "answer"))
    working, _, final = answer.rpartition(_FINAL)
    final = final.strip()
    comparable = number(final) is not None or (is_answer(final) and judge().equal(final, final))
    if not comparable:
        raise ValueError(f"its answer {final!r} is no number or expression that math-verify can compare")
    return Problem(text=question, answer=final, depth=working.count(_STEP) or None)


def _text(record: dict[str, Any], name: str) -> str:
    """A field as text. Raises ValueError if it is neither a text nor a number."""
    value = record.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no text as its {name!r}")
    return value.strip()
