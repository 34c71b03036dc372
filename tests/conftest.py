"""How the tests are shared out when several run at once (`pytest -n 2`)."""

from pathlib import Path

import pytest

# Files that start Ray, an engine or a learner: one process runs them all, so that what they share starts once and two
# of them never compete for the cores.
REAL = {"test_pool.py", "test_driver.py", "test_stack.py", "test_commands_run.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = "real" if Path(item.path).name in REAL else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
