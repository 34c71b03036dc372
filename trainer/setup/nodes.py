"""One check of a cluster that was joined, before anything loads: all its nodes must have what a run needs."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rollout import ray_cluster
from rollout.actor_spec import ActorSpec, Limit, Node
from rollout.held import StartFailed
from rollout.placement import Place
from rollout.pool import worker_env
from rollout.ray_actors import ActorDied, ActorTimeout, Remote, gather, share, spawn
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig, EnvConfig, ModelConfig
from trainer.report.progress import Display
from trainer.setup.folder import model_folder
from trainer.setup.gpu_memory import GIB
from trainer.setup.machine import CPU_BUILD, OLDEST_DRIVER, is_too_old
from trainer.setup.planned import card_bytes
from trainer.setup.probe import NONCE, Report, Wanted

PROBE = "trainer.setup.probe:Probe"  # by name: each node imports its own
LEAST_SHARED = GIB  # bytes on a node with GPUs, for NCCL's transport and vLLM's queues
CHUNK_BYTES = 2**26  # of a model on its way to another node
SAME_CARD = 0.98  # cards of one kind report slightly different memory


def check_nodes(
    cluster: ClusterConfig,
    model: ModelConfig,
    folder: str,
    display: Display,
    *,
    env: EnvConfig | None = None,
    output: Path | None = None,
) -> None:
    """Look at every node of a cluster that was joined; nodes that lack a model of the cache get a copy of it.

    folder: the model's. env: the world that env workers play. output: the folder that ranks write to. Raises
    ConfigError where a node cannot take part, after a line for each reason. Ray on this machine alone needs no check.
    """
    if cluster.address is None:
        return
    nodes = ray_cluster.nodes()
    with (
        display.doing(f"looking at {len(nodes)} nodes"),
        probes_on(nodes, cluster.start_timeout_s) as probes,
        _nonce(output) as nonce,
    ):
        place = None if output is None else str(output)
        wanted = Wanted(model=folder, env=env, output=place, nonce=nonce)
        reports, lines = _reports(nodes, probes, wanted)
        if not lines and model_folder(model, trained=False) is None:
            reports = _with_model(nodes, probes, reports, wanted, display)
        lines += differences(nodes, reports, wanted, card=card_bytes(cluster) if cluster.gpus else 0)
    for line in lines:
        display.line(line)
    if lines:
        more = f", the first of {len(lines)} lines" if len(lines) > 1 else ""
        raise ConfigError(f"cluster.address={cluster.address} has nodes that cannot take part: {lines[0]}{more}")


def _with_model(
    nodes: Sequence[Node],
    probes: Mapping[str, Remote],
    reports: Mapping[str, Report],
    wanted: Wanted,
    display: Display,
) -> dict[str, Report]:
    """The reports after the nodes that lack the model have a copy of it."""
    lacking = [node for node in nodes if reports[node.number].model is None]
    for node in lacking:
        display.line(f"copying the model to node {node.name}")
    send_folder(Path(wanted.model), [probes[node.number] for node in lacking])
    own = reports[nodes[0].number].model
    return {**reports, **{node.number: replace(reports[node.number], model=own) for node in lacking}}


def differences(nodes: Sequence[Node], reports: Mapping[str, Report], wanted: Wanted, *, card: int) -> list[str]:
    """A line for each thing that keeps a node from taking part: the node, the value, the remedy.

    nodes: the driver's first. reports: by the node's number. card: bytes of one GPU that the plan counts with.
    """
    if (own := reports.get(nodes[0].number)) is None:
        return []
    checks: tuple[Callable[[Node, Report], Iterator[str]], ...] = (
        lambda node, report: _versions(report, own, node),
        lambda node, report: _files(report, own, wanted),
        lambda node, report: _machine(node, report, card),
    )
    return [
        f"node {node.name}: {line}"
        for check in checks
        for node in nodes
        if node.number in reports
        for line in check(node, reports[node.number])
    ]


def _versions(report: Report, own: Report, node: Node) -> Iterator[str]:
    for name, version in own.versions.items():
        if (there := report.versions.get(name, "none")) == version:
            continue
        if name == "source":
            yield f"its copy of stepcredit has other files than the driver's: check out the same commit on {node.name}"
        else:
            yield f"{name} {there}, the driver has {version}: install the same lock on {node.name} (scripts/install)"


def _files(report: Report, own: Report, wanted: Wanted) -> Iterator[str]:
    if report.model is None:
        yield f"no model at {wanted.model}: copy it there, or set model.source to a folder that all nodes share"
    elif report.model != own.model:
        yield f"another model lies at {wanted.model} than on the driver's node: remove it there, or copy it anew"
    if report.world_error is not None:
        yield f"the world does not open ({report.world_error}): copy its data there, or name a folder that is shared"
    elif report.world != own.world:
        yield "the world has other tasks than on the driver's node: copy the same data there"
    if not report.shares_output:
        yield f"it does not see output={wanted.output}: set output to a folder that all nodes share and may write to"


def _machine(node: Node, report: Report, card: int) -> Iterator[str]:
    if not card or not node.gpus:
        return
    if report.versions.get("vllm", "").startswith(f"{CPU_BUILD} "):
        yield "vLLM's and torch's CPU builds are installed: run STEPCREDIT_LOCK=gpu scripts/install there"
    if report.shared_bytes < LEAST_SHARED:
        yield (
            f"{report.shared_bytes / GIB:.2f} GiB of shared memory are free, NCCL and vLLM need "
            f"{LEAST_SHARED / GIB:.0f}: start its container with --shm-size=16g"
        )
    for driver in sorted({gpu.driver for gpu in report.gpus if is_too_old(gpu.driver)}):
        yield f"NVIDIA driver {driver}, the locked CUDA 13 needs {OLDEST_DRIVER} or newer: update it"
    for gpu in sorted({gpu for gpu in report.gpus if gpu.memory_bytes < SAME_CARD * card}, key=lambda gpu: gpu.name):
        size = gpu.memory_bytes / GIB
        yield (
            f"{gpu.name} has {size:.1f} GiB, the plan counts with {card / GIB:.1f}: set "
            f"cluster.gpu_memory_gib={size:.1f}, or leave the node out"
        )


@contextmanager
def probes_on(nodes: Sequence[Node], timeout_s: float) -> Iterator[Mapping[str, Remote]]:
    """A probe on each node, by the node's number."""
    probes = {
        node.number: spawn(
            PROBE,
            spec=ActorSpec(
                name=f"the probe of node {node.name}",
                num_cpus=0,
                place=Place(node=node.number, devices=()),
                env=worker_env(),
                folder=os.getcwd(),
                limit=Limit(seconds=timeout_s, setting="cluster.start_timeout_s"),
            ),
        )
        for node in nodes
    }
    try:
        yield probes
    finally:
        for probe in probes.values():
            probe.kill()


def _reports(
    nodes: Sequence[Node], probes: Mapping[str, Remote], wanted: Wanted
) -> tuple[dict[str, Report], list[str]]:
    """What each node has, by its number, and a line for each node that cannot say."""
    calls = [(node, probes[node.number].submit("look", wanted)) for node in nodes]
    reports, lines = dict[str, Report](), list[str]()
    for node, call in calls:
        try:
            (reports[node.number],) = gather([call])
        except (StartFailed, ActorDied, ActorTimeout) as error:
            lines.append(f"node {node.name}: {error}: install stepcredit there, in the same place as here")
    return reports, lines


@contextmanager
def _nonce(output: Path | None) -> Iterator[str]:
    """A word that lies in the output folder for the length of the block."""
    word = secrets.token_hex(8)
    if output is None:
        yield word
        return
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{NONCE}{word}"
    file.write_text(word)
    try:
        yield word
    finally:
        file.unlink(missing_ok=True)


def send_folder(folder: Path, probes: Sequence[Remote]) -> None:
    """Write the files of a folder on the probes' nodes, under the same path."""
    for file in sorted(file for file in folder.iterdir() if file.is_file() and probes):
        for offset in range(0, max(1, file.stat().st_size), CHUNK_BYTES):
            with file.open("rb") as source:
                source.seek(offset)
                chunk = share(source.read(CHUNK_BYTES))
            gather([probe.submit("write", str(folder), file.name, offset, chunk) for probe in probes])
    gather([probe.submit("finish", str(folder)) for probe in probes])
