"""The command `stepcredit`: finds the door that its first word names and opens it."""

import os
import runpy
import sys
from pathlib import Path

DOORS = Path(__file__).resolve().parent.parent / "scripts"
COMMANDS = {
    "train": "train a policy by reinforcement learning",
    "evaluate": "measure a checkpoint, a Hugging Face model or an endpoint on held-out tasks",
    "demos": "write expert demonstrations",
    "warmstart": "fine-tune a policy on demonstrations",
    "lab": "hold estimators against each other, and against the truth: stepcredit lab [RUN_DIR]",
    "quickstart": "warm start, training and report on TextCraft in minutes",
}
POSITIONAL = {"lab": "run"}  # what a first word that is no override stands for


def main() -> None:
    """Run `scripts/<command>.py` with the remaining words; exit code 2 for a word that is no command."""
    if sys.argv[1:2] == ["-sc"] and "COMP_LINE" in os.environ:  # a shell completes `stepcredit train ...` for us
        program, _, rest = os.environ["COMP_LINE"].partition(" ")
        command, space, rest = rest.lstrip().partition(" ")
        if not space:  # the command itself is being typed
            sys.stdout.write("\n".join(COMMANDS))
            return
        os.environ["COMP_LINE"] = f"{program} {rest}"
        sys.argv.insert(1, command)
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write("usage: stepcredit COMMAND [overrides]\n\n")
        sys.stdout.write("".join(f"  {command:<12}{what}\n" for command, what in COMMANDS.items()))
        sys.stdout.write("\nEach command explains itself: stepcredit train --help\n")
        return
    if name not in COMMANDS:
        sys.stderr.write(f"stepcredit: no command {name!r}: choose one of {', '.join(COMMANDS)}\n")
        raise SystemExit(2)
    sys.argv = [f"stepcredit {name}", *_overrides(name, sys.argv[2:])]
    sys.path.insert(0, str(DOORS))
    runpy.run_path(str(DOORS / f"{name}.py"), run_name="__main__")


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
