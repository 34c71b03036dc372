"""A Ray cluster of two nodes on one machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray._private import services
from ray.cluster_utils import Cluster

START_S = 300.0  # Ray itself gives a node 30 s, which a busy machine exceeds


@contextmanager
def two_nodes(**other: Any) -> Iterator[str]:
    """Yield the address. other: options of the second node."""
    ask = services.get_node

    def ask_patiently(*arguments: Any) -> Any:
        end = time.monotonic() + START_S
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", ask_patiently)
        # As rollout.ray_actors sets them where it starts Ray itself.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "node_name": "head"})
        try:
            cluster.add_node(num_cpus=2, node_name="other", **other)
            yield str(cluster.address)
        finally:
            cluster.shutdown()
