"""Packed samples: each one whole and once an epoch, and any batch at any time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.backends.protocol import IGNORED
from trainwright.core.errors import SourceTooShort
from trainwright.train.samples import SampleBatches, count_rows, pack_samples

SEQ_LENGTH = 16


class Samples:
    """Sample i holds the ids 1000·i, 1000·i + 1, …; its first two tokens are only read."""

    def __init__(self, sizes):
        ids = [1000 * sample + np.arange(size, dtype=np.int32) for sample, size in enumerate(sizes)]
        self._ids = np.concatenate(ids) if ids else np.empty(0, np.int32)
        self.boundaries = np.cumsum([0, *sizes]).astype(np.uint64)

    def read(self, start, stop):
        return self._ids[start:stop]

    def read_targets(self, start, stop):
        return self._ids[start:stop] % 1000 >= 2


SIZES = [5, 17, 9, 4, 4, 12, 6, 9, 3, 9, 4, 8, 5]


def source(sizes=SIZES, *, seed=7, batch_size=2, accumulation=1):
    return SampleBatches(
        Samples(sizes), seed=seed, batch_size=batch_size, accumulation=accumulation, seq_length=SEQ_LENGTH
    )


def arrays(batches):
    return [np.concatenate([getattr(batch, name) for batch in batches]) for name in FIELDS]


FIELDS = ("tokens_BT", "targets_BT", "segments_BT")


def read_samples(batches):
    """(sample, its read tokens, its targets) of everything in some batches."""
    for batch in batches:
        for tokens, targets, segments in zip(batch.tokens_BT, batch.targets_BT, batch.segments_BT, strict=True):
            for segment in np.unique(segments):
                if (targets[segments == segment] != IGNORED).any():
                    yield (
                        int(tokens[segments == segment][0]) // 1000,
                        tokens[segments == segment],
                        targets[segments == segment],
                    )


# ── packing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.integers(1, SEQ_LENGTH), min_size=1, max_size=60))
@settings(max_examples=60)
def test_every_sample_has_a_place_of_its_own_inside_a_row(lengths):
    packing = pack_samples(np.array(lengths), SEQ_LENGTH)
    taken = np.zeros((packing.num_rows, SEQ_LENGTH), np.int64)
    for row, start, sample in zip(packing.rows_P, packing.starts_P, packing.by_length_N, strict=True):
        taken[row, start : start + lengths[sample]] += 1
    assert taken.max() == 1
    assert taken.sum() == sum(lengths)
    assert sorted(packing.by_length_N) == list(range(len(lengths)))
    assert (taken[:, 0] == 1).all()


def test_rows_are_filled_as_well_as_first_fit_decreasing_promises():
    lengths = np.random.default_rng(0).integers(1, SEQ_LENGTH + 1, 3000)
    fewest = int(np.ceil(lengths.sum() / SEQ_LENGTH))
    assert fewest <= pack_samples(lengths, SEQ_LENGTH).num_rows <= 11 / 9 * fewest + 1


def test_sample_that_fills_a_whole_row_fits_and_a_longer_one_is_refused():
    assert count_rows(Samples([SEQ_LENGTH + 1]), SEQ_LENGTH) == 1
    with pytest.raises(ValueError, match="17"):
        count_rows(Samples([SEQ_LENGTH + 2]), SEQ_LENGTH)


def test_no_sample_is_an_error():
    with pytest.raises(SourceTooShort):
        source([])


# ── what a batch holds ────────────────────────────────────────────────────────────────────────────────────────────────
def test_samples_are_whole_and_their_prompts_are_no_targets():
    (batch,) = source(batch_size=source().num_windows).micro_batches_at(0)
    assert {getattr(batch, name).dtype for name in FIELDS} == {np.dtype(np.int32)}
    assert batch.num_targets == sum(size - 2 for size in SIZES)
    for sample, tokens, targets in read_samples([batch]):
        whole = 1000 * sample + np.arange(SIZES[sample])
        np.testing.assert_array_equal(tokens, whole[:-1])
        np.testing.assert_array_equal(targets, [IGNORED, *whole[2:]])


def test_segments_count_from_the_left_and_padding_is_one_more():
    (batch,) = source(batch_size=source().num_windows).micro_batches_at(0)
    assert not batch.segments_BT[:, 0].any()
    assert set(np.unique(np.diff(batch.segments_BT, axis=1))) <= {0, 1}
    is_padding = batch.segments_BT == batch.segments_BT.max(axis=1, keepdims=True)
    has_padding = (batch.targets_BT[:, -1] == IGNORED) & (batch.tokens_BT[:, -1] == 0)
    assert has_padding.any()
    assert (batch.targets_BT[has_padding][is_padding[has_padding]] == IGNORED).all()


def test_an_epoch_reads_every_sample_once():
    one = source(batch_size=1)
    for epoch in range(3):
        steps = range(epoch * one.num_windows, (epoch + 1) * one.num_windows)
        seen = [sample for step in steps for sample, *_ in read_samples(one.micro_batches_at(step))]
        assert sorted(seen) == list(range(len(SIZES)))
    assert one.epoch_at(one.num_windows) == 1.0


@pytest.mark.parametrize("accumulation", [2, 4])
def test_micro_batches_are_the_whole_batch_cut_in_order(accumulation):
    whole = source(batch_size=4).micro_batches_at(1)
    parts = source(batch_size=4, accumulation=accumulation).micro_batches_at(1)
    assert [batch.tokens_BT.shape for batch in parts] == [(4 // accumulation, SEQ_LENGTH)] * accumulation
    for found, expected in zip(arrays(parts), arrays(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


# ── a function of (plan, step) ────────────────────────────────────────────────────────────────────────────────────────
@given(st.permutations(range(10)))
@settings(max_examples=15)
def test_any_batch_can_be_made_at_any_time(order):
    in_order = [arrays(source().micro_batches_at(step)) for step in range(10)]
    one = source()
    for step in order:
        for found, expected in zip(arrays(one.micro_batches_at(step)), in_order[step], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_steps_come_with_their_own_batches():
    for step, batches in source().iter_steps(3, 7):
        for found, expected in zip(arrays(batches), arrays(source().micro_batches_at(step)), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_seed_and_epoch_change_the_order_and_who_shares_a_row():
    def rows_of(one, epoch):
        steps = range(epoch * one.num_windows, (epoch + 1) * one.num_windows)
        return [tuple(sample for sample, *_ in read_samples(one.micro_batches_at(step))) for step in steps]

    first = rows_of(source(batch_size=1), 0)
    for other in (rows_of(source(batch_size=1), 1), rows_of(source(batch_size=1, seed=8), 0)):
        assert other != first
        assert {frozenset(row) for row in other} != {frozenset(row) for row in first}


def test_batches_are_the_pinned_ones():
    (batch,) = source().micro_batches_at(5)
    samples = [sample for sample, *_ in read_samples([batch])]
    assert samples == PINNED


PINNED = [4, 0, 12, 10, 3, 8]


# ── what is held out ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_everything_once_in_batches_of_one_shape():
    batches = list(source().iter_all(4))
    assert {batch.tokens_BT.shape for batch in batches} == {(4, SEQ_LENGTH)}
    assert sorted(sample for sample, *_ in read_samples(batches)) == list(range(len(SIZES)))
    for found, expected in zip(arrays(batches), arrays(list(source(seed=1).iter_all(4))), strict=True):
        np.testing.assert_array_equal(found, expected)
