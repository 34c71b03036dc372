"""The worlds' speed and memory: reset and step in one process; many episodes on few processes against one each.

`python scripts/bench/envs.py [--quick] [--no-pool] [--alfworld FOLDER] [--webshop FOLDER]`. Without folders the worlds
run on generated data. Prints a table; the last line is a JSON object. A figure that this run did not take is null.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# This folder holds an envs.py of its own, which a run by path would find before the room.
sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]

from envs import WORLDS, Env, make  # noqa: E402
from rollout import cluster  # noqa: E402
from rollout.pool import WORKER  # noqa: E402

EPISODES, QUICK_EPISODES = 400, 60
POOL_SIZES = (128, 256)


def measure_world(name: str, options: Mapping[str, Any], episodes: int) -> dict[str, float]:
    """Expert episodes: milliseconds of a reset, steps per second of processor time. The expert is not timed."""
    env = make(name, **options)
    tasks = env.tasks("train")
    tasks = [tasks[place * len(tasks) // episodes] for place in range(min(episodes, len(tasks)))]
    _play(env, tasks[:5])
    resets, spent, steps = [], 0.0, 0
    for task in tasks:
        begun = time.process_time()
        env.reset(task)
        resets.append((time.process_time() - begun) * 1e3)
        for action in env.expert():
            begun = time.process_time()
            env.step(action)
            spent += time.process_time() - begun
            steps += 1
    resets.sort()
    return {"reset_ms": resets[len(resets) // 2], "steps_per_s": steps / spent, "steps": steps}


def _play(env: Env, tasks: list[str]) -> None:
    for task in tasks:
        env.reset(task)
        for action in env.expert():
            env.step(action)


def measure_pool(name: str, options: Mapping[str, Any], *, episodes: int, workers: int) -> dict[str, float]:
    """Start, memory and the round trip of one action for all, with `episodes` episodes on `workers` Ray actors.

    workers equal to episodes is one actor an episode, the scheme that others use.
    """
    tasks = make(name, **options).tasks("train")
    begun = time.perf_counter()
    actors = [cluster.spawn(WORKER, name, dict(options), spec=_spec()) for _ in range(workers)]
    owners = [(actors[number % workers], number) for number in range(episodes)]
    cluster.gather([actor.submit("reset", n, tasks[n % len(tasks)], 0) for actor, n in owners])
    started = time.perf_counter() - begun
    begun = time.perf_counter()
    cluster.gather([actor.submit("step", n, "look") for actor, n in owners])
    trip = time.perf_counter() - begun
    memory = sum(_rss(process) for process in psutil.Process().children(recursive=True)) / 2**30
    for actor in actors:
        actor.kill()
    return {"start_s": started, "trip_ms": trip * 1e3, "rss_gb": memory}


def _spec() -> cluster.ActorSpec:
    return cluster.ActorSpec(env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss if "EnvWorker" in " ".join(process.cmdline()) else 0
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Measure every world there is, then the pool, and print."""
    parser = argparse.ArgumentParser()
    for flag in ("--quick", "--no-pool"):
        parser.add_argument(flag, action="store_true")
    for folder in ("--alfworld", "--webshop"):
        parser.add_argument(folder, default=None)
    asked = parser.parse_args()
    options: dict[str, dict[str, Any]] = {
        name: {"data": folder} if (folder := vars(asked).get(name)) is not None else {} for name in WORLDS
    }
    episodes = QUICK_EPISODES if asked.quick else EPISODES
    worlds = {name: measure_world(name, options[name], episodes) for name in WORLDS}
    for name, found in worlds.items():
        print(f"{name:12} reset {found['reset_ms']:8.3f} ms   {found['steps_per_s']:9.0f} steps/s")
    oracle = None
    if asked.alfworld is not None and importlib.util.find_spec("textworld") is not None:
        oracle = measure_world("alfworld", options["alfworld"] | {"engine": "textworld"}, 5)
        print(f"{'textworld':12} reset {oracle['reset_ms']:8.3f} ms   {oracle['steps_per_s']:9.0f} steps/s")
    pool = None if asked.no_pool else _pools(options, quick=asked.quick)
    print(json.dumps(_summary(worlds, oracle, pool)))


def _pools(options: Mapping[str, dict[str, Any]], *, quick: bool) -> dict[str, float]:
    """ALFWorld, each size on as many actors as cores, then one actor an episode; gives the largest on few actors."""
    cores = psutil.cpu_count(logical=False) or 1
    cluster.start(num_cpus=max(POOL_SIZES))
    found: dict[str, float] = {}
    for episodes in POOL_SIZES:
        for workers in (cores,) if quick else (cores, episodes):
            one = measure_pool("alfworld", options["alfworld"], episodes=episodes, workers=workers)
            print(
                f"alfworld pool: {episodes} episodes, {workers} actors   start {one['start_s']:.2f} s   "
                f"round trip {one['trip_ms']:.1f} ms   memory {one['rss_gb']:.2f} GB"
            )
            found = one if workers == cores else found
    cluster.stop()
    return found


def _summary(
    worlds: Mapping[str, Mapping[str, float]], oracle: Mapping[str, float] | None, pool: Mapping[str, float] | None
) -> dict[str, float | None]:
    alfworld = worlds["alfworld"]
    return {
        "alfworld_reset_ms": alfworld["reset_ms"],
        "alfworld_steps_per_s": alfworld["steps_per_s"],
        "alfworld_vs_textworld": alfworld["steps_per_s"] / oracle["steps_per_s"] if oracle else None,
        "webshop_steps_per_s": worlds["webshop"]["steps_per_s"],
        "textcraft_steps_per_s": worlds["textcraft"]["steps_per_s"],
        "pool_rss_gb_256": pool["rss_gb"] if pool else None,
        "pool_start_s": pool["start_s"] if pool else None,
    }


if __name__ == "__main__":
    main()
