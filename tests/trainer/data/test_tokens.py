import numpy as np
import pytest

from trainer.data.tokens import Targets, TokenBatch, ragged_index


def two_rows(**changes: object) -> TokenBatch:
    """Rows [1 2 | 3] and [4 | 5 6]."""
    columns = {
        "tokens": [1, 2, 3, 4, 5, 6],
        "prompt_lens": [2, 1],
        "response_lens": [1, 2],
        "trajectory": [7, 7],
        "time": [0, 1],
    }
    return TokenBatch(**(columns | changes))


def targets(**changes: object) -> Targets:
    return Targets(**({"advantage": [0.5, -1.0], "row_mask": [True, False], "old_logprobs": [-1.0] * 3} | changes))


def test_a_row_is_its_prompt_then_its_response() -> None:
    batch = two_rows()
    assert batch.row(0).tolist() == [1, 2, 3]
    assert batch.prompt(1).tolist() == [4]
    assert batch.response(1).tolist() == [5, 6]
    assert (batch.num_rows, batch.num_response_tokens) == (2, 3)


def test_columns_get_the_stated_types() -> None:
    batch = two_rows()
    assert [batch.tokens.dtype, batch.time.dtype] == [np.int32, np.int64]


def test_take_gives_the_rows_in_the_order_asked_for() -> None:
    batch = two_rows().take(np.array([1, 0]))
    assert batch.tokens.tolist() == [4, 5, 6, 1, 2, 3]
    assert batch.time.tolist() == [1, 0]


def test_response_index_points_into_a_column_of_response_tokens() -> None:
    # Row 0 has one response token (place 0), row 1 two (places 1 and 2).
    assert two_rows().response_index(np.array([1, 0])).tolist() == [1, 2, 0]


def test_ragged_index_of_no_rows_is_empty() -> None:
    assert ragged_index(np.array([0, 2]), np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": [1, 2, 3]}, "tokens has 3 entries"),
        ({"tokens": [1, 2, 3, 4, 5, -6]}, "negative id -6"),
        ({"tokens": [1.5] * 6}, "float64"),
        ({"response_lens": [1]}, "response_lens has 1 entries"),
        ({"prompt_lens": [3, 0]}, "prompt_lens has a row of 0 tokens"),
        ({"time": [1, 1]}, r"share \(trajectory, time\)"),
        ({"time": [[0, 1]]}, "expected one dimension"),
        ({"tokens": [], "prompt_lens": [], "response_lens": [], "trajectory": [], "time": []}, "no rows"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_rows(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_mask": [True]}, "row_mask has 1 entries"),
        ({"row_mask": [1, 0]}, "does not convert to bool"),
        ({"ref_logprobs": [-1.0]}, "ref_logprobs has 1 entries"),
        ({"token_mask": [True, True]}, "token_mask has 2 entries"),
        ({"advantage": [0.5, np.nan]}, "advantage holds 1 values that are not finite"),
        ({"old_logprobs": [-np.inf, 0.0, 0.0]}, "old_logprobs holds 1 values"),
    ],
)
def test_targets_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets(**changes)


def test_targets_of_another_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="old_logprobs has 2 entries, the batch's response tokens ask for 3"):
        targets(old_logprobs=[0.0, 0.0]).check_fits(two_rows())


def test_a_token_is_live_where_its_row_and_itself_are() -> None:
    assert targets().live_tokens(two_rows()).tolist() == [True, False, False]
    every_row = targets(row_mask=[True, True], token_mask=[True, False, True])
    assert every_row.live_tokens(two_rows()).tolist() == [True, False, True]
