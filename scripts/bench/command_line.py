"""The command line that all benches share: `--help`, `--quick`, and a last line of JSON."""

import argparse
import json
from collections.abc import Mapping


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--quick`. description: the bench's docstring, which `--help` shows."""
    shared = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    shared.add_argument("--quick", action="store_true", help="measure little: whether the bench works, not how fast")
    return shared


def add_device(command: argparse.ArgumentParser) -> None:
    """Add `--device`, for a bench that computes with torch."""
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute; default cpu")


def report(numbers: Mapping[str, float | None]) -> None:
    """Print the last line: one JSON object with the bench's numbers; null is a number that this run did not take."""
    print(json.dumps(dict(numbers)), flush=True)
