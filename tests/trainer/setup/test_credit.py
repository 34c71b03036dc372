"""What an estimator returns is checked before anything is learned from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators import Advantages, StepBatch, build
from rollout.collect import RolloutConfig
from tests.estimators.conftest import rows
from tests.trainer.run_stack import configured
from trainer.config.build import ConfigError
from trainer.setup.credit import advantages_of, checked_estimator

BATCH = rows(reward=[1.0, 0.0, 2.0])


def array(batch: StepBatch) -> Any:
    return batch.reward


def short(batch: StepBatch) -> Advantages:
    return Advantages(value=batch.reward[:2])


def test_credit_of_as_many_numbers_as_rows_is_passed_on() -> None:
    np.testing.assert_array_equal(advantages_of(build("grpo"), BATCH).value, build("grpo")(BATCH).value)


@pytest.mark.parametrize(
    ("estimator", "given"), [(array, "array returned ndarray"), (short, "short returned 2 numbers")]
)
def test_other_credit_is_refused_with_what_it_is(estimator: Any, given: str) -> None:
    with pytest.raises(ConfigError, match=rf"^estimator {given} for 3 rows: return Advantages\(value=...\)"):
        advantages_of(estimator, BATCH)


def test_an_estimator_that_takes_another_reward_for_a_success_is_refused(tmp_path: Path) -> None:
    """It would take every success for a failure, as in a fork that changes one of the two."""
    ibpo = {"name": "ibpo", "success_reward": 10.0}
    assert checked_estimator(configured(tmp_path, estimator=ibpo))
    with pytest.raises(ConfigError, match=r"estimator.success_reward=10.0 with rollout.success_reward=1.0: .*alike"):
        checked_estimator(configured(tmp_path, estimator=ibpo, rollout=RolloutConfig(history=6, success_reward=1.0)))
