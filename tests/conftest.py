"""How the tests are shared out when several run at once (`pytest -n 2`), and the option that records golden values."""

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is slow, which is no failure
settings.load_profile("untimed")

REAL = pytest.StashKey[bool]()
# Folders and files that start Ray, engines or learners. One process runs them all, so that what they share starts
# once and two of them never compete for the cores.
REAL_TESTS = ("tests/trainer/real/", "tests/trainer/learner/test_driver.py", "tests/rollout/test_pool.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-golden", action="store_true", help="write tests/golden/ anew; review the diff")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real tests first, as one group; every other file is a group of its own."""
    for item in items:
        item.stash[REAL] = item.nodeid.startswith(REAL_TESTS)
        item.add_marker(pytest.mark.xdist_group("real" if item.stash[REAL] else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: not item.stash[REAL])
