"""Memory does not grow: after ten thousand episodes a world holds no more than after the first thousand.

Code, each of whose programs is a process, plays a twentieth of that.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from envs import WORLDS

WARM_UP, EPISODES, EVERY = 1_000, 10_000, 1_000
FEWER = {"code": 20}  # by how many times
# The expert plays every other episode; the rest are ten turns of random admissible actions, or of nonsense.
PROGRAM = """
import gc, itertools, json, random, sys
import psutil
from envs import make

env, rng, sizes = make(sys.argv[1]), random.Random(0), []
warm_up, episodes, every = map(int, sys.argv[2:])
tasks = env.tasks("train")
for episode in range(warm_up + episodes + 1):
    if episode >= warm_up and (episode - warm_up) % every == 0:
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
    now = env.reset(tasks[episode % len(tasks)], seed=episode)
    if episode % 2:
        for action in env.expert():
            env.step(action)
    for turn in itertools.count():
        if episode % 2 or now.ending is not None or turn == 10:
            break
        now = env.step(rng.choice(now.admissible or ("inventory", "get 1 copper", "craft 1 moon using 1 sun")))
print(json.dumps(sizes))
"""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("world", WORLDS)
def test_memory_is_flat_over_ten_thousand_episodes(world: str) -> None:
    if world == "reasoning_gym" and find_spec(world) is None:
        pytest.skip("the extra `reasoning` is not installed")
    counts = [str(count // FEWER.get(world, 1)) for count in (WARM_UP, EPISODES, EVERY)]
    command = [sys.executable, "-c", PROGRAM, world, *counts]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    sizes = json.loads(process.stdout)
    assert len(sizes) == 1 + EPISODES // EVERY
    print(world, [round(size / 2**20, 1) for size in sizes])  # noqa: T201  for docs/experiments/: pytest -s
    assert max(sizes) <= 1.05 * sizes[0], sizes
