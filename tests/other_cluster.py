"""A Ray cluster that another process has started."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

# Says where the cluster is, and ends when its input does.
HEAD = """
import sys
import ray
started = ray.init("local", num_cpus=2, num_gpus=0, object_store_memory=80 * 2**20, log_to_driver=False)
print(started.address_info["address"])
sys.stdout.flush()
sys.stdin.read()
"""


@contextmanager
def other_cluster(*, auth: str) -> Generator[str]:
    """One node with 2 cores; its address. auth: "token" or "disabled"."""
    started = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": auth},
    )
    assert started.stdout is not None
    try:
        yield started.stdout.readline().strip()
    finally:
        started.communicate(timeout=60)
