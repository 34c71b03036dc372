"""The proof of `stepcredit doctor --gpu` as tests, on a machine with a GPU: `pytest -m gpu`."""

import json
from pathlib import Path

import pytest
import torch

from trainer.commands.doctor import PROVEN
from trainer.commands.examination import preset_shapes
from trainer.commands.gpu_proof import prove
from trainer.commands.proof_bench import ProofSpec
from trainer.report.progress import Display

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")]


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("ray_session")
def test_every_part_of_the_proof_holds_on_a_gpu(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    holds = prove(ProofSpec(device="cuda", shape=preset_shapes()[PROVEN]), tmp_path, Display(), report)
    parts = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(part["part"], part["failure"], part["must"]) for part in parts if not part["holds"]] == []
    assert holds
