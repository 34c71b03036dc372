"""That whole updates of `stepcredit train` run on one GPU."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.commands.proof_bench import Shown
from trainer.report.metric_rows import read_metrics


def updates(model: Path) -> Iterator[tuple[str, list[str]]]:
    """Whole updates of `stepcredit train` on one GPU, by name."""
    short = ["groups_per_update=4", "group_size=4", "updates=2", "validation.tasks=8", "learner.optimizer_steps=1"]
    short.append("log.wandb=disabled")
    yield "updates of SmolLM2-135M", ["cluster=gpu1", "model=smollm2_135m", "estimator=gigpo", *short]
    random = [f"model.source={model}", "model.prompt_tokens=1536", "model.response_tokens=64"]
    yield "updates of the large policy", ["cluster=gpu1", "model=qwen2.5_1.5b", "estimator=bipace", *random, *short]


def update(words: list[str], folder: Path) -> Shown:
    """Run the command in a process of its own. Raises RuntimeError with the end of what it printed."""
    output = folder / f"run-{time.time_ns()}"
    code = "from trainer.commands.main import main; main()"
    command = [sys.executable, "-P", "-c", code, "train", *words, f"output={output}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if finished.returncode != 0:
        raise RuntimeError(f"exit code {finished.returncode}: {(finished.stderr or finished.stdout)[-350:]}")
    last: dict[str, Any] = list(read_metrics(output))[-1]
    kept = ("learn/engine_mismatch", "learn/first_ratio_error", "learn/kl", "rollout/success")
    times = {name: value for name, value in last.items() if name.startswith(("seconds/", "speed/"))}
    return Shown(numbers={name: float(last[name]) for name in kept if last.get(name) is not None} | times)
