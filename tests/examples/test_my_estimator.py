"""examples/my_estimator/ is an estimator that the project takes without an edit."""

from pathlib import Path

import pytest
import yaml

from estimators import StepBatch, build

FOLDER = Path(__file__).parents[2] / "examples" / "my_estimator"


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Its YAML, with its folder where Python looks for modules."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return yaml.safe_load((FOLDER / "configs" / "estimator" / "my_estimator.yaml").read_text())


def test_a_row_is_compared_with_its_siblings_at_the_same_turn(options: dict[str, object]) -> None:
    batch = StepBatch(
        group=[0, 0, 0],
        trajectory=[0, 0, 1],
        time=[0, 1, 0],
        reward=[0.0, 8.0, 0.0],
        invalid=[False] * 3,
        state=[0, 1, 0],
        action=[0, 0, 1],
    )
    # gamma 0.5: returns to go are 4, 8 and 0; the first turn's mean is 2, the second turn was reached once.
    advantages = build("mine", **options | {"gamma": 0.5})(batch)
    assert advantages.value.tolist() == [2.0, 0.0, -2.0]
    assert advantages.diagnostics["alone"] == 0.5


def test_a_discount_above_1_is_refused_with_the_remedy(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"mine: gamma=1\.5 .*nearest 1\.0"):
        build("mine", **options | {"gamma": 1.5})
