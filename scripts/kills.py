"""Whether a training run that is killed again and again ends with the numbers of one that was not.

`python -m scripts.kills FOLDER [--kills 10] [--seed 0] [WORD ...]`: runs `stepcredit train deterministic=true WORD ...`
once as it is and once killed by SIGKILL at random moments, every other time while a checkpoint is being written, and
resumed after each. FOLDER keeps both runs. Exits 1 if a metric or a recorded rollout differs.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainer.report.meanings import CLOCKED
from trainer.report.metric_rows import read_metrics

COMMAND = (sys.executable, "-c", "from trainer.commands.main import main; main()", "train")
FIXED = ("deterministic=true", "record=rollouts", "log.wandb=disabled", "log.tensorboard=false")
LOOK_S = 0.01
"""Between two looks for a checkpoint that is being written, which takes a tenth of a second for a tiny policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill of the driver."""

    after_s: float
    """Seconds after the command began."""
    update: int
    """The last update that its log had."""
    writing: bool
    """Whether a checkpoint was half-written."""


def started(output: Path, words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """The command, with what it prints in a log."""
    with log.open("ab") as file:
        return subprocess.Popen([*COMMAND, *FIXED, *words, f"output={output}"], stdout=file, stderr=file)


def whole(output: Path, words: list[str]) -> float:
    """Run the command to its end. Returns its seconds; exits with its code if it fails."""
    began = time.monotonic()
    code = started(output, words, output.with_suffix(".log")).wait()
    if code != 0:
        sys.exit(f"the run that nobody kills failed with {code}: its log is {output.with_suffix('.log')}")
    return time.monotonic() - began


def killed(output: Path, words: list[str], moments: list[float]) -> list[Kill]:
    """Kill the run at each of these moments, in seconds after its start, then let it end."""
    log, kills = output.with_suffix(".log"), list[Kill]()
    for number, moment in enumerate(moments):
        leftovers = half_written(output)  # by those that were killed before
        process, began = started(output, [*words, "resume=auto"], log), time.monotonic()
        time.sleep(moment)
        while number % 2 and half_written(output) <= leftovers and process.poll() is None:
            time.sleep(LOOK_S)
        if process.poll() is not None:
            sys.exit(f"the run ended with {process.returncode} before it was killed {len(moments)} times: {log}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        rows = read_metrics(output) if (output / "metrics.jsonl").exists() else []
        update = int(rows[-1]["update"]) if rows else 0
        kills.append(
            Kill(after_s=time.monotonic() - began, update=update, writing=not half_written(output) <= leftovers)
        )
    if (code := started(output, [*words, "resume=auto"], log).wait()) != 0:
        sys.exit(f"the killed run failed with {code}: its log is {log}")
    return kills


def half_written(output: Path) -> set[Path]:
    """The folders of checkpoints that were begun and not finished."""
    return {path for path in (output / "checkpoints").glob(".*") if path.is_dir()}


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two runs: metrics that no clock measures, and recorded rollouts."""
    lines: list[str] = []
    for number, pair in enumerate(zip_longest(read_metrics(one), read_metrics(other), fillvalue={}), start=1):
        left, right = ({name: row[name] for name in row if not name.startswith(CLOCKED)} for row in pair)
        names = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
        lines += [f"row {number}: {name} {left.get(name)} {right.get(name)}" for name in names]
    files = {path.relative_to(folder) for folder in (one, other) for path in (folder / "rollouts").iterdir()}
    for file in sorted(files):
        if not all((folder / file).exists() for folder in (one, other)):
            lines.append(f"{file} is in one of them only")
        elif (one / file).read_bytes() != (other / file).read_bytes():
            lines.append(f"{file} differs")
    return lines


def main() -> None:
    """Run both, print the kills and what differs; the last line is JSON."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("folder", type=Path, help="where both runs go; must not exist")
    command.add_argument("--kills", type=int, default=10)
    command.add_argument("--seed", type=int, default=0, help="of the moments")
    command.add_argument("--longest", type=float, default=90.0, help="seconds after the start of the latest moment")
    words, training = command.parse_known_args()
    words.folder.mkdir(parents=True)
    moments = [random.Random(words.seed + number).uniform(1.0, words.longest) for number in range(words.kills)]
    seconds = whole(words.folder / "whole", training)
    kills = killed(words.folder / "killed", training, moments)
    lines = differences(words.folder / "whole", words.folder / "killed")
    table = Table("kill", "seconds after its start", "updates done", "writing a checkpoint")
    for number, kill in enumerate(kills, start=1):
        table.add_row(str(number), f"{kill.after_s:.0f}", str(kill.update), "yes" if kill.writing else "no")
    console = Console()
    console.print(table)
    console.print("\n".join(lines) or "every metric and every recorded rollout is equal", markup=False)
    report = {"kills": len(kills), "writing": sum(kill.writing for kill in kills), "differences": len(lines)}
    print(json.dumps(report | {"whole_s": round(seconds)}))
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
