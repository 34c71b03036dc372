"""The run stops where the first optimizer step does not start from the policy that was scored."""

import pytest

from trainer.learner.first_ratio import RatioNotOne, check_first_ratio


@pytest.mark.parametrize(("error", "precision"), [(0.0, "float32"), (9e-4, "float32"), (0.05, "bfloat16")])
def test_what_rounding_explains_is_let_pass(error: float, precision: str) -> None:
    check_first_ratio(error, precision)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("error", "precision"), [(0.02, "float32"), (0.2, "bfloat16"), (float("nan"), "float32")])
def test_a_larger_difference_stops_the_run_with_its_size_and_its_causes(error: float, precision: str) -> None:
    stops = pytest.raises(
        RatioNotOne, match=rf"is not 1: mean \|log ratio\| {error:.3g} nats, .* in {precision}. .*dropout"
    )
    with stops:
        check_first_ratio(error, precision)  # pyright: ignore[reportArgumentType]
