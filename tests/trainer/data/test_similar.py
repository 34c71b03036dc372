"""Texts grouped by similarity: greedy, first match, inside a group; equal to comparing every row with every seed."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.similar import similar_codes


def slow(texts, groups, threshold):
    seeds, labels = [], []
    for group, text in zip(groups, texts, strict=True):
        for code, (of, seed) in enumerate(seeds):
            if of == group and SequenceMatcher(None, text, seed).ratio() >= threshold:
                labels.append(code)
                break
        else:
            labels.append(len(seeds))
            seeds.append((group, text))
    return labels


TEXT = st.text(alphabet="abc ", max_size=8)


@given(rows=st.lists(st.tuples(st.integers(0, 1), TEXT), max_size=20), threshold=st.sampled_from([0.5, 0.8, 1.0]))
def test_codes_equal_those_of_the_row_by_row_reference(rows, threshold):
    groups, texts = [group for group, _ in rows], [text for _, text in rows]
    assert similar_codes(texts, groups, threshold).tolist() == slow(texts, groups, threshold)


def test_a_text_that_just_reaches_the_threshold_joins():
    # Two equal characters of five: the ratio is 0.8 to the last bit.
    assert similar_codes(["aa", "aaa"], [0, 0], 0.8).tolist() == [0, 0]


def test_a_row_joins_the_first_cluster_that_is_similar_enough_not_the_most_similar():
    # abcd to abcf 0.75, to abcdz 0.89: at 0.7 it joins the first, at 0.8 the second.
    texts = ["abcf", "abcdz", "abcd"]
    assert similar_codes(texts, [0, 0, 0], 0.7).tolist() == [0, 1, 0]
    assert similar_codes(texts, [0, 0, 0], 0.8).tolist() == [0, 1, 1]


def test_equal_texts_of_two_groups_get_two_codes():
    assert similar_codes(["same", "same"], ["a", "b"], 0.5).tolist() == [0, 1]


def test_texts_and_groups_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        similar_codes(["a"], [], 0.5)
