"""Settings of all tests, and the option that records golden values."""

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is slow, which is no failure
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-golden", action="store_true", help="write tests/golden/ anew; review the diff")
