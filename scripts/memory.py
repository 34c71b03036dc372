"""Whether the memory of a whole run's processes grows with the episodes that it plays.

`python -m scripts.memory FOLDER [WORD ...]`: runs `stepcredit train WORD ...` and, after each update, reads what each
part holds: the driver, engines, vLLM's processes, learner ranks, env workers and Ray's own. FOLDER keeps the run and
the readings (memory.jsonl). `python -m scripts.memory FOLDER --read` prints the table of readings that are there. The
last line is JSON. The first fifth of the updates, in which caches and pools fill, is left out.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from scripts.chaos import last_update, part_of
from scripts.kills import started

LOOK_S = 0.2
WARM_UP = 0.2  # of the updates
BLOCKS = 12  # over which readings are averaged: neighbours resemble each other, and would feign certainty
FIXED = ("resume=never", "validation.every=null", "record=none", "checkpoint.every=20")
MIB = 2**20
READINGS = "memory.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How memory grows, by least squares over the means of blocks."""

    per_thousand: float
    """MiB per 1,000 episodes."""
    half_width: float
    """Of its 95 % interval."""


def holds(driver: int) -> dict[str, int]:
    """Bytes that each part of a run holds for itself alone; what processes share is counted apart, once."""
    total: defaultdict[str, int] = defaultdict(int)
    process = psutil.Process(driver)
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            own = one.memory_full_info()
            part = "driver" if one.pid == driver else part_of(one) or "Ray's own"
            total[part] += own.uss
            if one.name() == "raylet":
                total["object store"] += own.shared
    return dict(total)


def slope(episodes: Sequence[float], mib: Sequence[float]) -> Slope:
    """The growth of readings that were taken after so many episodes. At least BLOCKS readings."""
    x, y = (np.array([block.mean() for block in np.array_split(np.array(one), BLOCKS)]) for one in (episodes, mib))
    centred = x - x.mean()
    growth = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - growth * centred
    error = float(np.sqrt(residual @ residual / (BLOCKS - 2) / (centred @ centred)))
    return Slope(per_thousand=growth * 1000, half_width=float(student.ppf(0.975, BLOCKS - 2)) * error * 1000)


def watched(folder: Path, words: Sequence[str]) -> int:
    """Run the command and write a line of readings after each update. Returns its exit code."""
    output, seen = folder / "run", 0
    process = started(output, [*FIXED, *words], folder / "run.log")
    with (folder / READINGS).open("a") as file:
        while process.poll() is None:
            time.sleep(LOOK_S)
            update = last_update(output)
            if update > seen:
                seen = update
                with suppress(psutil.NoSuchProcess):
                    print(json.dumps({"update": update, **holds(process.pid)}), file=file, flush=True)
    return process.returncode


def report(folder: Path) -> dict[str, float]:
    """Print the table of the readings. Returns the growth of each part, in MiB per 1,000 episodes."""
    config = json.loads((folder / "run" / "config.json").read_text())
    rollouts = config["groups_per_update"] * config["group_size"]
    rows = [json.loads(line) for line in (folder / READINGS).read_text().splitlines()]
    rows = [row for row in rows if row.keys() == rows[0].keys()]  # the last one, where the run's parts had ended
    rows = rows[int(len(rows) * WARM_UP) :]
    episodes = [row["update"] * rollouts for row in rows]
    table = Table("part", f"MiB after {episodes[0]} episodes", f"after {episodes[-1]}", "MiB per 1,000 episodes")
    growths: dict[str, float] = {}
    for part in sorted({name for row in rows for name in row} - {"update"}):
        mib = [row.get(part, 0) / MIB for row in rows]
        growth = slope(episodes, mib)
        growths[part] = round(growth.per_thousand, 3)
        table.add_row(part, f"{mib[0]:.1f}", f"{mib[-1]:.1f}", f"{growth.per_thousand:+.2f} ± {growth.half_width:.2f}")
    Console().print(table)
    return {"episodes": episodes[-1]} | growths


def main() -> None:
    """Run and read, then print what grew."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("folder", type=Path, help="where the run goes")
    command.add_argument("--read", action="store_true", help="print the readings that lie there; run nothing")
    words, training = command.parse_known_args()
    if not words.read:
        words.folder.mkdir(parents=True)
        if (code := watched(words.folder, training)) != 0:
            sys.exit(f"the run failed with {code}: its log is {words.folder / 'run.log'}")
    print(json.dumps(report(words.folder)))


if __name__ == "__main__":
    main()
