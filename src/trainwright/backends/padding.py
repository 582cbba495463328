"""Batches of few sizes, for frameworks that compile a program for each size."""

import numpy as np

from trainwright.backends.protocol import IGNORED, Batch


def pad_batch(batch: Batch, rows: int, length: int) -> Batch:
    """The batch with more rows and positions, none of which has a target; those in its rows are a segment of their own."""
    more = ((0, rows - batch.tokens_BT.shape[0]), (0, length - batch.tokens_BT.shape[1]))
    segments_BT = batch.segments_BT
    if segments_BT is None and more[1][1]:
        segments_BT = np.zeros_like(batch.tokens_BT)
    if segments_BT is not None:
        beyond_BT = np.repeat(segments_BT[:, -1:] + 1, more[1][1], axis=1).astype(np.int32)
        segments_BT = np.pad(np.concatenate([segments_BT, beyond_BT], axis=1), (more[0], (0, 0)))
    return Batch(np.pad(batch.tokens_BT, more), np.pad(batch.targets_BT, more, constant_values=IGNORED), segments_BT)


def next_power(number: int, least: int) -> int:
    """The smallest power of two that is no smaller than either (`least` is one)."""
    return max(least, 1 << (number - 1).bit_length())
