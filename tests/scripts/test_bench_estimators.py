"""The bench's slow ways compute what the estimators compute: their times are of the same work."""

import numpy as np
import pytest

from estimators import ESTIMATORS, build
from scripts.bench.estimators import SETTINGS, make_batch, public_columns, public_gigpo
from scripts.bench.loops import Loops

BATCH = make_batch(300)


def test_the_public_way_is_the_compat_preset():
    fast = build("gigpo", episode_stats="row", penalty="row", lone="raw")(BATCH).value
    np.testing.assert_allclose(public_gigpo(*public_columns(BATCH)), fast, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_loops_are_the_estimator(name):
    fast = build(name, **SETTINGS.get(name, {}))(BATCH).value
    np.testing.assert_allclose(getattr(Loops(BATCH), name)(), fast, rtol=1e-6, atol=1e-6)
