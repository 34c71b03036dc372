"""Print what was found out about this machine; with gpu=true, prove on one card that everything runs."""

import json
import tempfile
from pathlib import Path

from rich.table import Table

from rollout import ray_cluster
from trainer.commands.examination import Examination, preset_shapes
from trainer.commands.gpu_proof import prove
from trainer.commands.proof_bench import ProofSpec
from trainer.config.build import ConfigError
from trainer.config.showing import DoctorConfig
from trainer.report.progress import Display
from trainer.setup.findings import Finding
from trainer.setup.gpu_memory import GIB

PROVEN = "qwen2.5_1.5b"
"""The model whose shape the proof takes, in configs/model."""


def show_doctor(plan: Examination, display: Display) -> None:
    """Print the findings and run the proof. Raises ConfigError where something must be mended before a run."""
    if plan.config.json:
        lines = [{"what": one.what, "value": one.value, "remedy": one.remedy} for one in plan.findings]
        display.console.print(json.dumps(lines), markup=False, soft_wrap=True)
    else:
        display.console.print(_table(plan.findings))
    if plan.config.gpu:
        _prove(plan.config, display)
    elif mend := [one for one in plan.findings if one.remedy is not None]:
        raise ConfigError(f"{len(mend)} of {len(plan.findings)} lines want mending, first: {mend[0].remedy}")


def _prove(config: DoctorConfig, display: Display) -> None:
    report = Path(config.report).absolute()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    ray_cluster.start(object_store_bytes=2 * GIB)
    try:
        with tempfile.TemporaryDirectory(prefix="stepcredit-proof-") as folder:
            spec = ProofSpec(device="cuda", shape=preset_shapes()[PROVEN])
            holds = prove(spec, Path(folder), display, report, publish_only=config.only == "publish")
    finally:
        ray_cluster.stop()
    display.stage(f"figures: {report}")
    if not holds:
        raise ConfigError("not everything holds on this GPU: the lines that FAILED say what")


def _table(lines: tuple[Finding, ...]) -> Table:
    table = Table(title="this machine", title_justify="left", show_lines=False)
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    table.add_column("remedy")
    for line in lines:
        table.add_row(line.what, line.value, line.remedy or "", style=None if line.remedy is None else "yellow")
    return table
