"""The proof that a GPU runs all of this, with a tiny model on a CPU: every part runs and holds."""

import json
from pathlib import Path

import pytest

from trainer.commands.gpu_proof import prove
from trainer.commands.proof_bench import ProofSpec
from trainer.config.shape import ModelShape
from trainer.report.progress import Display

pytestmark = pytest.mark.slow

SHAPE = ModelShape(hidden=64, layers=2, heads=1, kv_heads=1, mlp=128, vocabulary=512, tied=True, qkv_bias=True)
SPEC = ProofSpec(device="cpu", shape=SHAPE, rows=8, prompt=60, response=20, requests=8, sampled=12)


@pytest.mark.usefixtures("ray_session")
def test_every_part_of_the_proof_holds_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.jsonl"
    holds = prove(SPEC, tmp_path, Display(), report)
    parts = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(part["part"], part["failure"]) for part in parts if not part["holds"]] == []
    assert holds
    assert "engine and learner agree" in capsys.readouterr().out
