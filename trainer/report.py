"""The page a quickstart ends with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Report:
    path: Path
    table: list[str]


def write_report(output, config, losses, result):
    return Report(
        output,
        [f"{n}: {e.overall}  " + "  ".join(f"{k} {r}" for k, r in e.by_kind.items()) for n, e in result.validations],
    )
