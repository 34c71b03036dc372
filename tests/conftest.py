"""Settings of all tests, how they are dealt to parallel workers, and the option that records golden values."""

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadfile import LoadFileScheduling

settings.register_profile("untimed", deadline=None)  # a busy machine is slow, which is no failure
settings.load_profile("untimed")

# They start Ray, engines or learners. One worker takes them all, in this order, so that what they share starts once;
# it begins with them, because they wait much and compute little.
REAL = (
    "tests/rollout/test_placement.py",
    "tests/rollout/test_pool.py",
    "tests/rollout/test_ray_actors.py",
    "tests/rollout/test_two_nodes.py",
    "tests/trainer/learner/test_driver.py",
    "tests/trainer/real/",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-golden", action="store_true", help="write tests/golden/ anew; review the diff")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(REAL))


class RealTestsInOneWorker(LoadFileScheduling):
    """Deals out whole files, and the files of REAL together."""

    def _split_scope(self, nodeid: str) -> str:
        return "real" if nodeid.startswith(REAL) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RealTestsInOneWorker:
    return RealTestsInOneWorker(config, log)
