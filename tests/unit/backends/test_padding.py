"""Padding: what is added counts nowhere, and is seen by nothing."""

import numpy as np
import pytest

from trainwright.backends.padding import next_power, pad_batch
from trainwright.backends.protocol import IGNORED, Batch


def test_padding_has_no_target_and_is_a_segment_of_its_own():
    tokens = np.array([[3, 4, 5]], np.int32)
    segments = np.array([[0, 1, 1]], np.int32)
    padded = pad_batch(Batch(tokens, tokens + 1, segments), 2, 5)
    np.testing.assert_array_equal(padded.tokens_BT, [[3, 4, 5, 0, 0], [0] * 5])
    np.testing.assert_array_equal(padded.targets_BT, [[4, 5, 6, IGNORED, IGNORED], [IGNORED] * 5])
    np.testing.assert_array_equal(padded.segments_BT, [[0, 1, 1, 2, 2], [0] * 5])
    whole = Batch(tokens, tokens + 1)
    assert pad_batch(whole, 1, 3).segments_BT is None
    np.testing.assert_array_equal(pad_batch(whole, 1, 4).segments_BT, [[0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("number", "least", "expected"), [(1, 1, 1), (1, 16, 16), (16, 16, 16), (17, 16, 32), (5, 1, 8)]
)
def test_sizes_are_powers_of_two(number, least, expected):
    assert next_power(number, least) == expected
