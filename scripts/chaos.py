"""Whether a training run goes on by itself while its parts are killed and stopped at random.

`python -m scripts.chaos FOLDER [--seed 0] [WORD ...]`: runs `stepcredit train WORD ...` and strikes one part in each
update: an env worker, an engine, vLLM's process inside it, or a learner rank, by SIGKILL or by SIGSTOP, after which it
hangs. Exits 1 if the run fails. The last line is JSON.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table

from scripts.kills import started
from trainer.report.metric_rows import read_metrics

Part = Literal["env worker", "engine", "vLLM's process", "learner rank"]
PARTS: tuple[Part, ...] = ("env worker", "engine", "vLLM's process", "learner rank")
# A part that hangs is found by a limit: these are short, so that a run of minutes meets many.
LIMITS = (
    *("rollout.env_timeout_s=20", "engine.response_timeout_s=30", "engine.timeout_s=60", "learner.timeout_s=60"),
    *("engine.restarts=10", "checkpoint.every=1", "resume=never"),
)
LOOK_S = 0.2
LATEST_S = 2.0
"""Seconds after an update's row in which the next part is struck."""
COUNTS = ("rollout/worker_restarts", "rollout/engine_restarts", "learn/restarts", "rollout/dropped_groups")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One part that was struck."""

    update: int
    """The last update that had ended."""
    part: Part
    """What was struck."""
    hangs: bool
    """Whether it was stopped; else it was killed."""


def part_of(process: psutil.Process) -> Part | None:
    """Which part of a run the process is; None for all others."""
    title = " ".join(process.cmdline())
    if title.startswith("VLLM::EngineCore"):
        return "vLLM's process"
    if title.startswith("ray::_AsyncHost") or "rollout.apart" in title:  # the actor, or its object's process
        return "engine"
    if title.startswith("ray::_Host"):
        return "learner rank" if "LOCAL_WORLD_SIZE" in process.environ() else "env worker"
    return None


def parts_of(driver: int) -> Iterator[tuple[Part, psutil.Process]]:
    """The parts of a run that are there now."""
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            part = part_of(process)
            if part is not None and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
                yield part, process


def strike(driver: int, update: int, chance: random.Random) -> Strike | None:
    """Strike one part; None where the part that was drawn is not there."""
    part, hangs = chance.choice(PARTS), chance.random() < 0.5
    processes = [process for name, process in parts_of(driver) if name == part]
    if not processes:
        return None
    with suppress(psutil.NoSuchProcess):
        chance.choice(processes).send_signal(signal.SIGSTOP if hangs else signal.SIGKILL)
    return Strike(update=update, part=part, hangs=hangs)


def last_update(output: Path) -> int:
    """The last update with a row; -1 where there is none yet."""
    rows = read_metrics(output) if (output / "metrics.jsonl").exists() else []
    return int(rows[-1]["update"]) if rows else -1


def main() -> None:
    """Run, strike, and print what was struck and what the run counted."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("folder", type=Path, help="where the run goes; must not exist")
    command.add_argument("--seed", type=int, default=0, help="of what is struck, how and when")
    words, training = command.parse_known_args()
    words.folder.mkdir(parents=True)
    output, chance, strikes, struck = words.folder / "run", random.Random(words.seed), list[Strike](), -1
    process = started(output, [*LIMITS, *training], words.folder / "run.log")
    while process.poll() is None:
        time.sleep(LOOK_S)
        update = last_update(output)
        if update > struck:
            time.sleep(chance.uniform(0.0, LATEST_S))
            struck = max(update, last_update(output))
            if process.poll() is None and (one := strike(process.pid, struck, chance)):
                strikes.append(one)
    if last_update(output) < 0:
        sys.exit(f"the run ended with {process.returncode} before its first row: see {words.folder / 'run.log'}")
    table = Table("after update", "part", "how")
    for one in strikes:
        table.add_row(str(one.update), one.part, "hangs" if one.hangs else "killed")
    Console().print(table)
    rows = read_metrics(output)
    counts = {name: sum(row.get(name, 0.0) for row in rows) for name in COUNTS}
    print(json.dumps({"code": process.returncode, "updates": last_update(output), "strikes": len(strikes)} | counts))
    sys.exit(process.returncode != 0)


if __name__ == "__main__":
    main()
