"""The command `stepcredit`: finds the door that its first words name and opens it."""

import os
import runpy
import sys
from pathlib import Path

DOORS = Path(__file__).resolve().parents[2] / "scripts"
COMMANDS = {
    "train": "train a policy by reinforcement learning",
    "evaluate": "measure a checkpoint, a Hugging Face model or an endpoint on held-out tasks",
    "demos": "write expert demonstrations",
    "warmstart": "fine-tune a policy on demonstrations",
    "lab": "hold estimators against each other, and against the truth: stepcredit lab [RUN_DIR]",
    "quickstart": "warm start, training and report on TextCraft in minutes",
    "data alfworld": "fetch and check ALFWorld's official games",
    "data alfworld-generate": "write generated households in the official format",
    "data webshop-generate": "write a generated shop in the official format",
}
POSITIONAL = {"lab": "run"}  # what a first word that is no override stands for


def main() -> None:
    """Run the command's door with the remaining words; exit code 2 for words that are no command."""
    if sys.argv[1:2] == ["-sc"] and "COMP_LINE" in os.environ:  # a shell completes `stepcredit train ...` for us
        program, _, typed = os.environ["COMP_LINE"].partition(" ")
        typed = typed.lstrip()
        name = next((command for command in COMMANDS if typed.startswith(f"{command} ")), None)
        if name is None:  # the command itself is being typed
            sys.stdout.write("\n".join(_next_words(typed.split(" ")[:-1])))
            return
        os.environ["COMP_LINE"] = f"{program} {typed.removeprefix(name).lstrip()}"
        sys.argv[1:1] = name.split()
    words = sys.argv[1:]
    name = next((command for command in COMMANDS if words[: len(command.split())] == command.split()), None)
    if name is None:
        _explain(words)
        return
    sys.argv = [f"stepcredit {name}", *_overrides(name, words[len(name.split()) :])]
    sys.path.insert(0, str(DOORS))
    try:
        runpy.run_path(str(DOORS / f"{name.replace(' ', '_').replace('-', '_')}.py"), run_name="__main__")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left, as in `stepcredit train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _next_words(typed: list[str]) -> list[str]:
    """The words that can follow the first ones of a command, each once."""
    commands = [command.split() for command in COMMANDS]
    return list(dict.fromkeys(words[len(typed)] for words in commands if words[: len(typed)] == typed))


def _explain(words: list[str]) -> None:
    """The help that was asked for, or the end of a command that there is not."""
    if words and words[-1] not in ("-h", "--help"):
        sys.stderr.write(f"stepcredit: no command {' '.join(words[:2])!r}: choose one of {', '.join(COMMANDS)}\n")
        raise SystemExit(2)
    sys.stdout.write("usage: stepcredit COMMAND [overrides]\n\n")
    sys.stdout.write("".join(f"  {command:<24}{what}\n" for command, what in COMMANDS.items()))
    sys.stdout.write("\nEach command explains itself: stepcredit train --help\n")


def _overrides(name: str, words: list[str]) -> list[str]:
    """The words for Hydra: a first one that names a folder, or could be no override, becomes one."""
    if name not in POSITIONAL or not words or words[0].startswith("-"):
        return words
    if "=" in words[0] and not Path(words[0]).exists():  # a sweep's folders have "=" in their names
        return words
    quoted = words[0].replace("\\", "\\\\").replace("'", "\\'")
    rest = words[1:]
    # Beside the other overrides: argparse takes them in one piece only, before or after the options.
    at = next((at for at, word in enumerate(rest) if "=" in word and not word.startswith("-")), len(rest))
    return [*rest[:at], f"{POSITIONAL[name]}='{quoted}'", *rest[at:]]
