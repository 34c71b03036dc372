"""What counts as a program in an answer. The prompts and the world share this definition."""

import ast
import re
import warnings

LONGEST = 10_000  # characters
_FENCED = re.compile(r"^```[^\n`]*\n(.*?)^```\s*$", re.DOTALL | re.MULTILINE)


def program_of(answer: str) -> str:
    r"""The program in an answer: the text of its fenced blocks, or the whole answer where it has none.

    >>> program_of("Here it is:\n```python\nx = 1\n```\nDone."), program_of(" x = 1\n")
    ('x = 1\n', 'x = 1')
    """
    blocks = _FENCED.findall(answer)
    return "\n".join(blocks) if blocks else answer.strip()


def is_program(answer: str) -> bool:
    r"""Whether the program in an answer can be parsed and defines a function. The answer has at most 10,000 characters.

    >>> [is_program(answer) for answer in ("def f(x):\n    return x", "f = lambda x: x", "def f(x", "x = 1", "")]
    [True, True, False, False, False]
    """
    if len(answer) > LONGEST:  # before fences are looked for, which takes the square of it
        return False
    program = program_of(answer)
    try:
        with warnings.catch_warnings(action="ignore"):  # of doubtful escapes in somebody else's program
            parsed = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.Lambda) for node in ast.walk(parsed))
