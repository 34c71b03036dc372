"""The command `stepcredit`: finds the command that its first words name and runs it with the remaining words."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from trainer.cells.child import follow_parent
from trainer.commands.interrupt import PATIENCE_S, Interruption
from trainer.commands.table import COMMANDS, Command, named
from trainer.config.quoting import quoted

TAKE_A_VALUE = frozenset(  # options of Hydra's parser whose value is the next word
    ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")
)
CELLS_PATIENCE_S = PATIENCE_S - 2  # a cell's: its launcher waits for it, and has as long as any command
EXECUTE = "trainer.commands.compose:execute"  # imports Hydra and Ray: a word that is no command does not wait for them


def main() -> None:
    """Run one command. Exit code 2 for words that name no command, and for everything the command refuses."""
    find_users_modules()
    if sys.argv[1:2] == ["-sc"] and "COMP_LINE" in os.environ and not _complete_overrides():
        return
    try:
        with Interruption(patience_s=CELLS_PATIENCE_S if follow_parent() else PATIENCE_S) as interruption:
            call(sys.argv[1:], interruption)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has left, as in `stepcredit train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def find_users_modules() -> None:
    """Let imports look into the working folder too, after everything that is installed, and after this repository: an
    editable install finds its packages behind all folders, so that a folder `envs` there would hide ours."""
    sys.path += [str(Path(__file__).resolve().parents[2]), os.getcwd()]


def call(words: Sequence[str], interruption: Interruption) -> None:
    """Run the command that the first words name with the others. Raises SystemExit as `main` ends."""
    words = list(words)
    name = next((command for command in COMMANDS if words[: len(command.split())] == command.split()), None)
    if name is None:
        _explain(words)
        return
    command = COMMANDS[name]
    words = [command.flags.get(word, word) for word in words[len(name.split()) :]]
    sys.argv = ["stepcredit", *_overrides(command, words)]
    named(EXECUTE)(command, interruption)


def _complete_overrides() -> bool:
    """A shell asks for completions: hand a command's overrides to Hydra (True), or write the next words (False)."""
    program, _, typed = os.environ["COMP_LINE"].partition(" ")
    typed = typed.lstrip()
    name = next((command for command in COMMANDS if typed.startswith(f"{command} ")), None)
    if name is None:  # the command itself is being typed
        sys.stdout.write("\n".join(_next_words(typed.split(" ")[:-1])))
        return False
    os.environ["COMP_LINE"] = f"{program} {typed.removeprefix(name).lstrip()}"
    sys.argv[1:1] = name.split()
    return True


def _next_words(typed: list[str]) -> list[str]:
    """The words that can follow the first words of a command, each once."""
    commands = [command.split() for command in COMMANDS]
    return list(dict.fromkeys(words[len(typed)] for words in commands if words[: len(typed)] == typed))


def _explain(words: list[str]) -> None:
    """Print the list of commands; refuse words that name none."""
    if words and words[-1] not in ("-h", "--help"):
        sys.stderr.write(f"stepcredit: no command {' '.join(words[:2])!r}: choose one of {', '.join(COMMANDS)}\n")
        raise SystemExit(2)
    sys.stdout.write("usage: stepcredit COMMAND [overrides]\n\n")
    lines = ((name, command.help.partition(": stepcredit ")[0]) for name, command in COMMANDS.items())
    sys.stdout.write("".join(f"  {name:<24}{about}\n" for name, about in lines))
    sys.stdout.write("\nEach command explains itself: stepcredit train --help\n")


def _overrides(command: Command, words: list[str]) -> list[str]:
    """The words for Hydra: a first word that is a folder, or cannot be an override, becomes the positional setting.

    Options may stand before it. Of a command with a list of them, all such words at its beginning do.

    Hydra's parser takes the overrides in one piece only, so they are gathered behind the options.
    """
    options, rest, overrides = list[str](), list[str](), list[str]()
    for before, word in pairwise(["", *words]):
        (options if word.startswith("-") or before in TAKE_A_VALUE else rest).append(word)
    if command.positional is not None and _is_positional(rest):
        overrides.append(f"{command.positional}={quoted(rest[0])}")
        rest = rest[1:]
    if command.positionals is not None and _is_positional(rest):
        count = next((place for place in range(len(rest)) if not _is_positional(rest[place:])), len(rest))
        overrides.append(f"{command.positionals}=[{','.join(map(quoted, rest[:count]))}]")
        rest = rest[count:]
    return [*options, *overrides, *rest]


def _is_positional(words: list[str]) -> bool:
    """Whether the first word is no override; a folder may have "=" in its name, or begin with "~".

    `os.path.exists` is False for a word that is too long to be a name; `Path.exists` raises.
    """
    return bool(words) and (not ("=" in words[0] or words[0].startswith("~")) or os.path.exists(words[0]))
