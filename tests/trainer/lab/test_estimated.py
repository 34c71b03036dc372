"""Credit against estimated advantages: what chance of the estimate does, signs, and intervals over groups."""

from pathlib import Path

import numpy as np
import pytest

from estimators.algebra.sets import Sets, cut
from tests.trainer.lab.test_lab import config, recorded, run_lab
from trainer.config.build import ConfigError
from trainer.data.recording import recordings
from trainer.inspect.continued import Continued
from trainer.inspect.truth import write_truth
from trainer.lab.measure.estimated import EstimatedTruth, against_estimate, mean_interval, read_truth
from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.lab.report.numbers import read_numbers

GROUPS, ROWS = 200, 20


def groups() -> Sets:
    return cut(np.arange(GROUPS * ROWS), np.arange(GROUPS * ROWS) % ROWS == 0)


def estimate(advantage: np.ndarray, error: float, seed: int = 0) -> EstimatedTruth:
    """What an estimate with so large a standard error gives."""
    chance = np.random.default_rng(seed).normal(scale=error, size=len(advantage)) if error else 0.0
    return EstimatedTruth(advantage=advantage + chance, error=np.full(len(advantage), error))


def advantages(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=GROUPS * ROWS)


@pytest.mark.parametrize("scale", [1.0, 7.0, -1.0])
def test_credit_in_proportion_to_the_truth_has_a_correlation_of_one(scale: float) -> None:
    found = against_estimate(scale * advantages(), estimate(advantages(), 0.0), groups())
    assert found.correlation.value == pytest.approx(np.sign(scale))
    assert found.correlation.half == pytest.approx(0.0, abs=1e-9)
    assert found.sign.value == found.blame.value == float(scale > 0.0)


@pytest.mark.parametrize("error", [0.5, 1.0, 2.0])
def test_the_chance_of_the_estimate_lowers_no_correlation(error: float) -> None:
    truth = advantages()
    credit = truth + np.random.default_rng(2).normal(size=len(truth))
    found = against_estimate(credit, estimate(truth, error), groups()).correlation
    assert abs(found.value - np.sqrt(0.5)) < found.half < 0.1


def test_signs_are_asked_where_the_estimate_is_certain_and_blame_where_it_is_below_0() -> None:
    truth = EstimatedTruth(advantage=np.array([3.0, -3.0, -3.0, 1.0, 0.0]), error=np.ones(5))
    of = cut(np.arange(5), np.array([True, False, True, False, False]))
    found = against_estimate(np.array([1.0, 0.0, -1.0, -1.0, 1.0]), truth, of)
    assert found.sign.value == pytest.approx(2 / 3)
    assert found.blame.value == pytest.approx(1 / 2)
    assert np.isnan(against_estimate(np.zeros(5), truth, of).correlation.value)


def test_an_estimate_that_is_all_chance_has_no_correlation() -> None:
    found = against_estimate(advantages(), estimate(np.zeros(GROUPS * ROWS) + 1e-9, 0.0), groups())
    assert abs(found.correlation.value) < 0.1
    chance = EstimatedTruth(advantage=np.full(4, 0.1), error=np.ones(4))
    found = against_estimate(np.ones(4), chance, cut(np.arange(4), np.array([True, False] * 2)))
    assert np.isnan(found.correlation.value)
    assert np.isnan(found.sign.value)


def test_the_lead_over_the_first_estimator_is_taken_on_the_same_rows_and_has_a_narrower_interval() -> None:
    truth = estimate(advantages(), 1.0)
    noise = np.random.default_rng(3).normal(size=GROUPS * ROWS)
    first, near = advantages() + 2.0 * noise, advantages() + 1.9 * noise
    one, other = against_estimate(first, truth, groups()), against_estimate(near, truth, groups(), first)
    assert one.lead is None
    assert other.lead is not None
    assert other.lead.value == pytest.approx(other.correlation.value - one.correlation.value)
    assert 0.0 < other.lead.half < other.lead.value < one.correlation.half
    assert against_estimate(first, truth, groups(), first).lead == ConfidenceInterval(value=0.0, half=0.0)


def test_updates_are_independent_and_one_without_a_value_is_left_out() -> None:
    values = [ConfidenceInterval(value=value, half=half) for value, half in ((0.2, 0.3), (0.4, 0.4), (np.nan, np.nan))]
    assert mean_interval(values) == ConfidenceInterval(value=pytest.approx(0.3), half=pytest.approx(0.25))
    assert np.isnan(mean_interval(values[2:]).value)


def test_a_lab_of_a_run_puts_estimates_beside_its_estimators_and_keeps_them(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", 1, 2)
    first, _ = recordings(run, None)
    advantage = np.array([0.0, 5.0, -5.0, -5.0] * 2)
    write_truth(first, Continued(advantage=advantage, error=np.full(8, 0.5)), count=16)
    numbers = run_lab(config(tmp_path / "lab", "gigpo", "crbc", run=str(run)))
    assert [update.certain for update in numbers.recorded] == [0.75, None]
    kept = read_numbers(tmp_path / "lab").recorded
    for name in ("gigpo", "crbc"):
        assert kept[0].credit[name].truth == numbers.recorded[0].credit[name].truth
    assert kept[1].credit["gigpo"].truth is None
    table = (tmp_path / "lab" / "lab.md").read_text().partition("Against the estimated true advantage")[2]
    assert "updates 1: 75.0 % of the rows" in table
    assert "minus first" in table
    assert table.index("gigpo") < table.index("crbc") < table.index("Credit on recorded rollouts")


def test_estimates_that_are_broken_or_of_other_rollouts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "update-000001.truth.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ConfigError, match="is no whole estimate"):
        read_truth(path, 4)
    np.savez(path, advantage=np.zeros(3), error=np.ones(3))
    with pytest.raises(ConfigError, match="is of other rollouts"):
        read_truth(path, 4)
