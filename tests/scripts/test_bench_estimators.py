"""The bench compares times of the same work: its slow implementations compute what the estimators compute."""

import numpy as np
import pytest

from estimators import ESTIMATORS, build
from scripts.bench.estimators import SETTINGS, compare, make_batch, public_columns, public_gigpo, scored
from scripts.bench.loops import Loops

BATCH = make_batch(300)
LOOPS = sorted(name for name in vars(Loops) if not name.startswith("_"))  # a new estimator may have none


def test_the_recreated_public_code_computes_the_compat_preset():
    fast = build("gigpo", episode_stats="row", penalty="row", singleton="raw")(BATCH).value
    np.testing.assert_allclose(public_gigpo(*public_columns(BATCH)), fast, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_computes_its_estimator(name):
    estimator = build(name, **SETTINGS.get(name, {}))
    batch = scored(BATCH, estimator)
    fast = estimator(batch).value
    np.testing.assert_allclose(getattr(Loops(batch), name)(), fast, rtol=1e-6, atol=1e-6)


def test_every_loop_belongs_to_an_estimator():
    assert set(LOOPS) <= set(ESTIMATORS)


def test_an_estimator_without_a_loop_is_timed_alone(monkeypatch, capsys):
    monkeypatch.delattr(Loops, "rloo")
    compare(300)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "loops x" in lines["grpo"]
    assert lines["rloo"].endswith(" ms")
