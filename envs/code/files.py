"""Reads a JSONL file of problems in the format of MBPP (2108.07732) or of HumanEval (2107.03374)."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, cast

from envs.base import EnvError
from envs.code.library import Library, Problem, library
from envs.held_out import read_splits

_FORMATS = (
    'MBPP\'s {"text" or "prompt", "code", "test_list"} or HumanEval\'s '
    '{"prompt", "entry_point", "canonical_solution", "test"}'
)


@cache
def read_library(problems: Path, held_out: Path | None) -> Library:
    """The problems of a file. `validation` is the file `held_out`, or a tenth of `problems` if that is None.

    A task id is the digest of its text, and the tenth are the problems with the smallest digests. So neither depends
    on the order of the lines. Raises EnvError, with path and line number, for a broken file and for a problem that is
    in both files.
    """
    return library(str(problems), *read_splits(_read, problems, held_out))


def _read(path: Path) -> dict[str, tuple[int, Problem]]:
    """The problems of a file with their line numbers, by task id, in the order of the file."""
    if not path.is_file():
        raise EnvError(f"{path}: there is no such file; give code a JSONL file of problems")
    entries: dict[str, tuple[int, Problem]] = {}
    for line, text in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            problem = _problem(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise EnvError(f"{path} line {line}: {error}; mend the line or take it out") from error
        task_id = f"problem-{hashlib.blake2b(problem.text.encode(), digest_size=8).hexdigest()}"
        first, same = entries.setdefault(task_id, (line, problem))
        if same != problem:
            raise EnvError(f"{path} line {line}: line {first} has the same text with other tests; take one out")
    if len(entries) < 2:
        raise EnvError(f"{path}: holds {len(entries)} problems; give code a JSONL file of 2 or more")
    return entries


def _problem(record: Any) -> Problem:
    """The problem of one line. Raises ValueError for a line of neither format and for sources that do not parse."""
    if not isinstance(record, dict):
        raise ValueError(f"is no object of {_FORMATS}")
    fields = cast(dict[str, Any], record)
    if "test_list" in fields:
        problem = _mbpp(fields)
    elif "entry_point" in fields:
        problem = _human_eval(fields)
    else:
        raise ValueError(f"is neither {_FORMATS}")
    for name in ("solution", "setup", *problem.tests):
        source = getattr(problem, name) if name in ("solution", "setup") else name
        try:
            parsed = ast.parse(source)
        except SyntaxError as error:
            raise ValueError(f"{source.strip()[:60]!r} is no Python ({error.msg})") from error
        if name in problem.tests and not parsed.body:
            raise ValueError(f"has the test {source[:60]!r}, which is blank, so every program would pass it")
    return problem


def _mbpp(fields: dict[str, Any]) -> Problem:
    tests = _texts(fields, "test_list")
    if not tests:
        raise ValueError("has no list of tests as its 'test_list'")
    imports = _texts(fields, "test_imports") if fields.get("test_imports") else ()
    setup_code = fields.get("test_setup_code") or ""
    if not isinstance(setup_code, str):
        raise ValueError(f"has no text as its 'test_setup_code' but {setup_code!r:.60}")
    return Problem(
        text=_text(fields, "prompt" if "prompt" in fields else "text"),
        tests=tests,
        setup="\n".join([*imports, setup_code]),
        solution=_text(fields, "code"),
        depth=None,
    )


def _human_eval(fields: dict[str, Any]) -> Problem:
    prompt = _text(fields, "prompt")
    return Problem(
        text=prompt,
        tests=(f"check({_text(fields, 'entry_point').strip()})",),
        setup=_text(fields, "test"),
        solution=prompt + _text(fields, "canonical_solution"),
        depth=None,
    )


def _texts(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field as texts. Raises ValueError if it is no list of them."""
    values = fields[name]
    if not isinstance(values, list):
        raise ValueError(f"has no list as its {name!r} but {values!r:.60}")
    for value in cast(list[Any], values):
        if not isinstance(value, str):
            raise ValueError(f"has {value!r:.60}, which is no text, in its {name!r}")
    return tuple(cast(list[str], values))


def _text(fields: dict[str, Any], name: str) -> str:
    """A field as text. Raises ValueError if it is none."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no text as its {name!r}")
    return value.replace("\r\n", "\n")
