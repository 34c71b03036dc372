"""What an estimator returns is checked before anything is learned from it."""

from typing import Any

import numpy as np
import pytest

from estimators import Advantages, StepBatch, build
from tests.estimators.conftest import rows
from trainer.config.build import ConfigError
from trainer.setup.credit import advantages_of

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
