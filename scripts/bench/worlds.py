"""The worlds' speed and memory: reset and step in one process; many episodes on few processes against one each.

`python -m scripts.bench.worlds [--quick] [--no-pool] [--pool-sizes 128 256] [--alfworld FOLDER] [--webshop FOLDER]`.
Without folders the worlds run on generated data; --quick leaves out one actor an episode and most episodes. Prints a
table; the last line is a JSON object. A figure that this run did not take is null.
"""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from envs import WORLDS, Env, make
from rollout import ray_actors, ray_cluster
from rollout.pool import WORKER
from scripts.bench.command_line import parser, report
from trainer.data.tasks import spread

MEASURED = tuple(name for name in WORLDS if name not in ("code", "reasoning_gym"))  # whose steps wait for a process
EPISODES, QUICK_EPISODES = 400, 60
POOL_SIZES, QUICK_POOL_SIZES = (128, 256), (8,)
SUMMED_UP = 256  # episodes of the pool's figures in the last line, which are the worst world's
TRIPS = 5
ACTOR = "ray::_Host"  # what Ray calls the process of an actor, see `rollout.ray_actors`
SPEC = ray_actors.ActorSpec(num_cpus=0.001, env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})


def measure_world(name: str, options: Mapping[str, Any], episodes: int) -> dict[str, float]:
    """Expert episodes: milliseconds of a reset, steps per second of processor time. The expert is not timed."""
    env = make(name, **options)
    tasks = spread(env.tasks("train"), episodes)
    _play(env, tasks[:5])
    resets, spent, steps = [], 0.0, 0
    for task in tasks:
        start_s = time.process_time()
        env.reset(task)
        resets.append((time.process_time() - start_s) * 1e3)
        for action in env.expert():
            start_s = time.process_time()
            env.step(action)
            spent += time.process_time() - start_s
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

    workers equal to episodes is one actor an episode, the scheme that others use. start_s: until every episode shows
    its first observation. trip_ms: the median of TRIPS. rss_gb: of the actors; what they share counts in each.
    """
    env = make(name, **options)
    tasks = env.tasks("train")
    tasks = [tasks[number % len(tasks)] for number in range(episodes)]
    actions = [_first_action(env, task) for task in tasks]
    ready_s, start_s = 0.0, time.perf_counter()
    actors = [ray_actors.spawn(WORKER, name, dict(options), spec=SPEC) for _ in range(workers)]
    owners = [actors[number % workers] for number in range(episodes)]
    trips: list[float] = []
    for _ in range(TRIPS):
        ray_actors.gather([actor.submit("reset", n, tasks[n], 0) for n, actor in enumerate(owners)])
        ready_s = ready_s or time.perf_counter() - start_s
        start_s = time.perf_counter()
        ray_actors.gather([actor.submit("step", n, actions[n]) for n, actor in enumerate(owners)])
        trips.append(time.perf_counter() - start_s)
        ray_actors.gather([actor.submit("release", n) for n, actor in enumerate(owners)])
    memory = sum(map(_rss, psutil.Process().children(recursive=True))) / 2**30
    for actor in actors:
        actor.kill()
    return {"start_s": ready_s, "trip_ms": sorted(trips)[TRIPS // 2] * 1e3, "rss_gb": memory}


def _first_action(env: Env, task: str) -> str:
    env.reset(task)
    return next(iter(env.expert()))


def _rss(process: psutil.Process) -> int:
    """Bytes; 0 for a process that holds no episodes."""
    try:
        return process.memory_info().rss if ACTOR in " ".join(process.cmdline()) else 0
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Measure every world there is, then the pool, and print."""
    command = parser(__doc__)
    command.add_argument("--no-pool", action="store_true", help="leave out the actors")
    for folder in ("--alfworld", "--webshop"):
        command.add_argument(folder, metavar="FOLDER", default=None, help="official data; default: generated")
    command.add_argument("--pool-sizes", type=int, nargs="+", default=None, help=f"episodes; default {POOL_SIZES}")
    args = command.parse_args()
    options: dict[str, dict[str, Any]] = {
        name: {"data": folder} if (folder := vars(args).get(name)) is not None else {} for name in MEASURED
    }
    episodes = QUICK_EPISODES if args.quick else EPISODES
    worlds = {name: measure_world(name, options[name], episodes) for name in MEASURED}
    for name, figures in worlds.items():
        print(f"{name:12} reset {figures['reset_ms']:8.3f} ms   {figures['steps_per_s']:9.0f} steps/s")
    oracle = None
    if args.alfworld is not None and importlib.util.find_spec("textworld") is not None:
        oracle = measure_world("alfworld", options["alfworld"] | {"engine": "textworld"}, 5)
        print(f"{'textworld':12} reset {oracle['reset_ms']:8.3f} ms   {oracle['steps_per_s']:9.0f} steps/s")
    sizes = QUICK_POOL_SIZES if args.quick else POOL_SIZES
    pool = None if args.no_pool else _pools(options, args.pool_sizes or sizes, quick=args.quick)
    report(_summary(worlds, oracle, pool))


def _pools(options: Mapping[str, dict[str, Any]], sizes: Sequence[int], *, quick: bool) -> dict[str, float]:
    """Every world and size on as many actors as cores, then on one an episode; the summary is of the former."""
    cores = psutil.cpu_count(logical=False) or 1
    ray_cluster.start(num_cpus=cores, object_store_bytes=2**28)
    worst: dict[str, float] = {}
    for name in MEASURED:
        for episodes in sizes:
            for workers in (cores,) if quick else (cores, episodes):
                figures = measure_pool(name, options[name], episodes=episodes, workers=workers)
                print(
                    f"{name:12} {episodes:4} episodes, {workers:4} actors   start {figures['start_s']:7.2f} s   "
                    f"round trip {figures['trip_ms']:8.1f} ms   memory {figures['rss_gb']:6.2f} GB"
                )
                if (workers, episodes) == (cores, SUMMED_UP):
                    worst = {key: max(worst.get(key, 0.0), figure) for key, figure in figures.items()}
    ray_cluster.stop()
    return worst


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
        "pool_rss_gb_256": pool.get("rss_gb") if pool else None,
        "pool_start_s": pool.get("start_s") if pool else None,
    }


if __name__ == "__main__":
    main()
