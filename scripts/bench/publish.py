"""What a publish costs: the learner's weights on their way to an engine, by each way that can run here.

`python -m scripts.bench.publish [--quick] [--device cuda]`: one rank and one engine with a random Qwen2, on one GPU or
on this machine's CPU; the fastest of some publishes counts. WAY_s is its time and WAY_gib_per_s its speed; WAY_rank_mb,
WAY_engine_mb and WAY_driver_mb are the most host memory, shared pages included, that it took for a while, and
WAY_gpu_mb the most GPU memory. The engine compares checksums each time. The last line is JSON.
"""

import tempfile
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

import psutil

from rollout import ray_cluster
from rollout.engines import EngineConfig, Engines
from rollout.ray_actors import Remote
from rollout.transfer import Route, Way
from rollout.types import Device
from scripts.bench.command_line import add_device, parser, report
from trainer.commands.proof_model import write_model
from trainer.config.learner import LearnerConfig
from trainer.config.shape import ModelShape
from trainer.learner.driver import Learner
from trainer.setup.exchange import BYTES
from trainer.setup.gpu_watch import GpuMemory
from trainer.setup.parts import meet

SHAPES = {
    "quick": ModelShape(hidden=64, layers=2, heads=1, kv_heads=1, mlp=128, vocabulary=512, tied=True, qkv_bias=True),
    "cpu": ModelShape(hidden=576, layers=24, heads=9, kv_heads=3, mlp=1536, vocabulary=49152, tied=True, qkv_bias=True),
    "cuda": ModelShape(
        hidden=1536, layers=28, heads=12, kv_heads=2, mlp=8960, vocabulary=151936, tied=True, qkv_bias=True
    ),
}
WAYS: Mapping[Device, tuple[Way, ...]] = {"cpu": ("file", "shm", "nccl"), "cuda": ("file", "shm", "ipc")}
"""On a CPU the broadcast of nccl is gloo's."""
PUBLISHES = 5
LIMIT_S = 600.0
PERIOD_S = 0.01
MB = 1e6


class HostMemory:
    """What the driver, a rank and an engine with its children have of the host's memory."""

    def __init__(self, rank: Remote, engine: Remote) -> None:
        driver = psutil.Process()
        actors = {"rank": rank.pid, "engine": engine.pid}
        self._roots = {"driver": [driver]} | {name: _family(pid) for name, pid in actors.items()}

    def used_mb(self) -> dict[str, float]:
        """In MB, pages that processes share included."""
        return {name: sum(map(_resident, family)) / MB for name, family in self._roots.items()}

    @contextmanager
    def watched(self) -> Generator[dict[str, float]]:
        """The most that each takes within the block, above what it had before."""
        before, done = self.used_mb(), Event()
        most = dict.fromkeys(before, 0.0)

        def watch() -> None:
            while not done.wait(PERIOD_S):
                for name, used in self.used_mb().items():
                    most[name] = max(most[name], used - before[name])

        watcher = Thread(target=watch)
        watcher.start()
        try:
            yield most
        finally:
            done.set()
            watcher.join()


def _family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        raise RuntimeError("Ray has not placed an actor that has answered already")
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0


def measured(
    engines: Engines, learner: Learner, host: HostMemory, gpu: GpuMemory, *, publishes: int, version: int
) -> dict[str, float]:
    """The fastest of some publishes along the learner's route, and the most memory that any of them took."""
    seconds: list[float] = []
    with host.watched() as most, gpu.watched() as peak:
        before = gpu.used_gib()
        for number in range(publishes):
            engines.sleep()
            start_s = time.perf_counter()
            engines.publish(learner, version + number, LIMIT_S)
            seconds.append(time.perf_counter() - start_s)
    return {"s": min(seconds), "gpu_mb": max(0.0, peak.gib - before) * 2**30 / MB} | {
        f"{name}_mb": round(value, 1) for name, value in most.items()
    }


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    add_device(command)
    args = command.parse_args()
    device: Device = args.device
    shape = SHAPES["quick" if args.quick else device]
    dtype = "bfloat16" if device == "cuda" else "float32"
    learning = LearnerConfig(device=device, dtype=dtype, learning_rate=1e-5, threads=2)
    numbers: dict[str, float | None] = {}
    ray_cluster.start(object_store_bytes=2**28)
    try:
        with tempfile.TemporaryDirectory(prefix="stepcredit-publish-", dir="/dev/shm") as name:
            folder = Path(name)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(write_model, shape, folder / "model", device).result()
            gpu = GpuMemory(device)
            with (
                closing(Learner.reserve(learning, folder / "model")) as learner,
                closing(_engines(folder / "model", device, learner)) as engines,
            ):
                engines.wait_ready(LIMIT_S)
                engines.sleep()
                learner.join(timeout_s=LIMIT_S)
                if device == "cpu":
                    meet(engines, learner, LIMIT_S)
                host = HostMemory(learner.ranks[0], engines.remotes[0])
                size = shape.parameters * BYTES[dtype] / 2**30
                for turn, way in enumerate(WAYS[device]):
                    learner.route = Route(way=way, folder=folder / "weights")
                    times = 1 if args.quick else PUBLISHES
                    figures = measured(engines, learner, host, gpu, publishes=times, version=turn * PUBLISHES)
                    print(f"{way:5}", *(f"{key} {value:10.3f}" for key, value in figures.items()))
                    numbers |= {f"{way}_{key}": value for key, value in figures.items()}
                    numbers[f"{way}_gib_per_s"] = size / figures["s"]
                numbers["weights_gib"] = size
    finally:
        ray_cluster.stop()
    report({key: None if value is None else round(value, 4) for key, value in numbers.items()})


def _engines(model: Path, device: Device, learner: Learner) -> Engines:
    on_gpu = device == "cuda"
    config = EngineConfig(
        device=device, dtype="bfloat16" if on_gpu else "float32", sleep=on_gpu, kv_cache_bytes=2**30 if on_gpu else None
    )
    return Engines(model, config, context=256, places=learner.places)


if __name__ == "__main__":
    main()
