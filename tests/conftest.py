"""Settings of all tests, how they are dealt to parallel workers, and the option that records golden values."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadfile import LoadFileScheduling

# Before torch is imported: three workers share two cores, and a thread that waits for its core spins. Ranks and engines
# have a number of threads of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("untimed", deadline=None)  # a busy machine is slow, which is no failure
settings.load_profile("untimed")

# They start Ray, engines or learners. One worker takes each list, in this order, so that what its files share starts
# once. Both begin at once, because these tests wait much and compute little. A file belongs to the first list that has
# it.
REAL = {
    "actors": (
        "tests/trainer/real/test_ends.py",
        "tests/trainer/real/test_nodes.py",
        "tests/trainer/learner/test_driver.py",
        "tests/rollout/test_pool.py",
        "tests/rollout/test_placement.py",
        "tests/rollout/test_ray_actors.py",
        "tests/rollout/test_ray_cluster.py",
        "tests/rollout/test_two_nodes.py",
    ),
    "engines": ("tests/trainer/real/",),
}
FIRST = tuple(start for starts in REAL.values() for start in starts)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-golden", action="store_true", help="write tests/golden/ for this kind of machine; review the diff"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))


class RealTestsTogether(LoadFileScheduling):
    """Deals out whole files, and the files of each list of REAL together."""

    def _split_scope(self, nodeid: str) -> str:
        lists = (name for name, starts in REAL.items() if nodeid.startswith(starts))
        return next(lists, None) or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RealTestsTogether:
    return RealTestsTogether(config, log)
