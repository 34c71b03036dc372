"""A process that runs one cell after another as the command does, and keeps the parts of a run up in between.

Consumes orders on standard input, a line of JSON each: the words after `stepcredit`, and the file that all output of
this cell goes to. Produces a line of JSON on standard output when a cell has ended: its exit code. At the end of its
input it closes the parts and ends. A signal ends it with the cell that runs, as it ends a command.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from trainer.cells.child import follow_parent
from trainer.commands.interrupt import Interruption, nothing_started
from trainer.commands.main import CELLS_PATIENCE_S, call, find_users_modules
from trainer.setup.kept import keeping


def main() -> None:
    """Run the cells that are ordered, until there are no more."""
    find_users_modules()
    follow_parent()
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)  # what a cell starts sees neither
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with Interruption(patience_s=CELLS_PATIENCE_S) as interruption, keeping():
        while line := orders.readline():
            order = json.loads(line)
            _write_to(Path(order["log"]))
            code = _exit_code(order["words"], interruption)
            interruption.remedy = nothing_started
            sys.stdout.flush()
            answers.write(json.dumps({"code": code}) + "\n")


def _write_to(log: Path) -> None:
    """Append whatever this process writes to a file; nothing else of it stays open."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    os.close(file)


def _exit_code(words: Sequence[str], interruption: Interruption) -> int:
    """Run a command; the code with which a process of its own would end. An interruption ends this process instead."""
    try:
        call(words, interruption)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001  as the interpreter does it, but for the process, which goes on
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
