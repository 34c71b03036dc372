"""A run on a cluster of two Ray nodes that was joined by its address: ranks and engines on both."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.two_nodes import two_nodes
from trainer.report.metric_rows import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]
# The command, which also tells on how many nodes its engines and its ranks are.
TRAIN = """
from rollout.ray_actors import gather
from trainer.commands.main import main
from trainer.setup import parts

start = parts.start_models

def start_and_tell(engines, learner, *arguments, **options):
    start(engines, learner, *arguments, **options)
    for kind, actors in (("engines", engines.remotes), ("ranks", learner.ranks)):
        places = gather([actor.ask_place() for actor in actors])
        print(kind, "on", len({place.node for place in places}), "nodes")

parts.start_models = start_and_tell
main()
"""
WORDS = (
    *("experiment=tiny", "env=textcraft", "model=tiny", "cluster=cpu", "estimator=gigpo", "updates=1", "group_size=2"),
    *("groups_per_update=2", "learner.optimizer_steps=1", "validation.every=null", "checkpoint.every=1"),
    *("cluster.ranks=2", "cluster.engines=2", "cluster.threads=1", "cluster.start_timeout_s=1700"),
    *("log.wandb=disabled", "log.tensorboard=false"),
)


@pytest.fixture
def address() -> Iterator[str]:
    with two_nodes() as address:
        yield address


def test_ranks_and_engines_of_two_nodes_train_one_policy(address: str, tmp_path: Path) -> None:
    words = (*WORDS, f"cluster.address='{address}'", f"output={tmp_path / 'run'}")
    ended = subprocess.run(
        [sys.executable, "-c", TRAIN, "train", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "engines on 2 nodes" in ended.stdout
    assert "ranks on 2 nodes" in ended.stdout
    assert f"through {tmp_path / 'run' / 'weights-on-their-way'}" in ended.stdout
    assert ["learn/loss" in row for row in read_metrics(tmp_path / "run")] == [True]
    saved = tmp_path / "run" / "checkpoints" / "update-000001"
    assert {f"rng-{rank}.pt" for rank in (0, 1)} <= {file.name for file in saved.rglob("*.pt")}
    assert (saved / "model" / "config.json").is_file()
    assert not (tmp_path / "run" / "weights-on-their-way").exists()
