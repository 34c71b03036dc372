"""A cluster of two Ray nodes on one machine: parts go to both, and each is looked at before anything loads."""

import os
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from rollout import ray_cluster
from rollout.ray_actors import ActorSpec, gather, spawn
from tests.rollout.stand_ins import Part
from tests.two_nodes import two_nodes
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig, EnvConfig, ModelConfig, TuningConfig
from trainer.report.progress import Display
from trainer.setup import nodes
from trainer.setup.nodes import check_nodes, send_folder
from trainer.setup.probe import Probe, Report, Wanted

PLANTED = "PLANTED"  # a variable of the second node: what is wrong with it
TUNING = TuningConfig(learning_rate=1e-5, warmstart_learning_rate=1e-4, layer=-1, eps="auto")


class PlantedProbe(Probe):
    """A probe that finds the second node's own root folder, where a model may lie or not."""

    def look(self, wanted: Wanted) -> Report:
        report = super().look(replace(wanted, model=_there(wanted.model)))
        if PLANTED not in os.environ:
            return report
        return replace(report, versions={**report.versions, "torch": "1.0"})

    def write(self, folder: str, name: str, offset: int, data: bytes) -> None:
        super().write(_there(folder), name, offset, data)

    def finish(self, folder: str) -> None:
        super().finish(_there(folder))


def _there(folder: str) -> str:
    """Where a folder of this name lies on the node: both nodes have the disk of one machine."""
    return f"{folder}-there" if PLANTED in os.environ else folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with two_nodes(env_vars={PLANTED: "1"}) as address:
        ray_cluster.start(address=address)
        yield address
        ray_cluster.stop()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "model.safetensors").write_bytes(b"12345")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def checked(address: str, source: str, folder: Path, output: Path) -> list[str]:
    """The lines of a check."""
    printed = StringIO()
    model = ModelConfig(source=source, prompt_tokens=100, response_tokens=20, tuning=TUNING)
    check_nodes(
        ClusterConfig(address=address),
        model,
        str(folder),
        Display(Console(file=printed, width=400)),
        env=EnvConfig(world="textcraft"),
        output=output,
    )
    return printed.getvalue().splitlines()


def test_the_drivers_node_comes_first(address: str) -> None:
    del address
    assert [node.name for node in ray_cluster.nodes()] == ["head", "other"]


def test_parts_that_are_spread_go_to_both_nodes_and_work_in_the_drivers_folder(address: str, tmp_path: Path) -> None:
    del address
    spec = ActorSpec(name="a part", spread=True, folder=str(tmp_path))
    parts = [spawn(Part, spec=spec) for _ in range(2)]
    places = gather([part.ask_place() for part in parts], timeout_s=120)
    assert len({place.node for place in places}) == 2
    assert gather([part.submit("folder") for part in parts], timeout_s=120) == [str(tmp_path)] * 2
    for part in parts:
        part.kill()


def test_nodes_that_are_alike_may_start_and_nothing_is_left_in_the_output_folder(
    address: str, model: Path, tmp_path: Path
) -> None:
    checked(address, str(model), model, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_node_with_another_version_and_without_the_users_model_is_refused_with_a_line_each(
    address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PROBE", "tests.rollout.test_two_nodes:PlantedProbe")
    with pytest.raises(ConfigError, match=r"cluster.address=.* cannot take part: node other: torch 1.0.*of 2 lines"):
        checked(address, str(model), model, tmp_path / "out")


def test_a_model_of_the_cache_is_copied_to_a_node_that_lacks_it(
    address: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del address
    monkeypatch.setattr(nodes, "PROBE", "tests.rollout.test_two_nodes:PlantedProbe")
    monkeypatch.setattr(nodes, "CHUNK_BYTES", 2)
    with nodes.probes_on(ray_cluster.nodes()[1:], 300.0) as probes:
        send_folder(model, list(probes.values()))
    there = Path(f"{model}-there")
    assert {file.name: file.read_bytes() for file in there.iterdir()} == {
        file.name: file.read_bytes() for file in model.iterdir()
    }


def test_a_node_where_stepcredit_is_missing_is_refused_with_what_it_said(
    address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PROBE", "no_such_module:Probe")
    with pytest.raises(ConfigError, match=r"node head: .*No module named 'no_such_module'.*: install stepcredit there"):
        checked(address, str(model), model, tmp_path / "out")
