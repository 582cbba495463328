"""Batches are a function of (plan, step): any can be made at any time, and an epoch reads every window once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.core.errors import SourceTooShort
from trainwright.train.batches import BatchSource, count_windows


class Tokens:
    """Token ids that are their own positions."""

    def __init__(self, num_tokens):
        self.num_tokens = num_tokens
        self.reads = []

    def read(self, start, stop):
        assert 0 <= start < stop <= self.num_tokens, f"read outside the split: {start}…{stop}"
        self.reads.append((start, stop))
        return np.arange(start, stop, dtype=np.int32)


def source(num_tokens=1000, *, seed=7, batch_size=4, accumulation=1, seq_length=32):
    return BatchSource(
        Tokens(num_tokens), seed=seed, batch_size=batch_size, accumulation=accumulation, seq_length=seq_length
    )


def first_tokens(batches):
    return [int(row[0]) for batch in batches for row in batch.tokens_BT]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        np.testing.assert_array_equal(batch.tokens_BT, other.tokens_BT)
        np.testing.assert_array_equal(batch.targets_BT, other.targets_BT)


# ── what a batch holds ────────────────────────────────────────────────────────────────────────────────────────────────
def test_targets_are_the_tokens_that_follow():
    (batch,) = source().micro_batches_at(0)
    assert batch.tokens_BT.shape == batch.targets_BT.shape == (4, 32)
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == np.int32
    assert batch.tokens_BT.flags.c_contiguous
    assert batch.targets_BT.flags.c_contiguous
    assert batch.num_targets == 4 * 32
    np.testing.assert_array_equal(batch.targets_BT, batch.tokens_BT + 1)
    np.testing.assert_array_equal(np.diff(batch.tokens_BT, axis=1), 1)


@pytest.mark.parametrize("accumulation", [1, 2, 4, 8])
def test_micro_batches_are_the_whole_batch_cut_in_order(accumulation):
    whole = source(batch_size=8).micro_batches_at(3)
    parts = source(batch_size=8, accumulation=accumulation).micro_batches_at(3)
    assert [batch.tokens_BT.shape for batch in parts] == [(8 // accumulation, 32)] * accumulation
    np.testing.assert_array_equal(np.concatenate([batch.tokens_BT for batch in parts]), whole[0].tokens_BT)
    np.testing.assert_array_equal(np.concatenate([batch.targets_BT for batch in parts]), whole[0].targets_BT)


# ── a function of (plan, step) ────────────────────────────────────────────────────────────────────────────────────────
@given(st.permutations(range(12)))
@settings(max_examples=20)
def test_any_batch_can_be_made_at_any_time(order):
    in_order = [source().micro_batches_at(step) for step in range(12)]
    one = source()
    for step in order:
        assert_same(one.micro_batches_at(step), in_order[step])


def test_seed_changes_the_batches():
    assert first_tokens(source(seed=1).micro_batches_at(0)) != first_tokens(source(seed=2).micro_batches_at(0))


def test_batches_are_the_pinned_ones():
    assert first_tokens(source().micro_batches_at(0)) == [490, 170, 202, 426]
    assert first_tokens(source().micro_batches_at(100)) == [102, 134, 454, 774]


def test_two_threads_that_ask_for_other_epochs_get_their_own_batches():
    one = source(num_tokens=40 * 32, batch_size=2)
    steps = [0, 40, 1, 60, 2, 80] * 30
    expected = {step: source(num_tokens=40 * 32, batch_size=2).micro_batches_at(step) for step in set(steps)}
    with ThreadPoolExecutor(4) as pool:
        for step, batches in zip(steps, pool.map(one.micro_batches_at, steps), strict=True):
            assert_same(batches, expected[step])


# ── epochs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(9, 400), st.integers(1, 8), st.integers(0, 2**40))
@settings(max_examples=60)
def test_epoch_reads_every_window_once_and_none_overlaps_another(num_tokens, seq_length, seed):
    one = source(num_tokens, seed=seed, batch_size=1, seq_length=seq_length)
    assert one.num_windows == max(1, (num_tokens - seq_length) // seq_length)
    for epoch in (0, 1):
        steps = range(epoch * one.num_windows, (epoch + 1) * one.num_windows)
        starts = sorted(first_tokens([batch for step in steps for batch in one.micro_batches_at(step)]))
        assert 0 <= starts[0] < seq_length
        assert starts == list(range(starts[0], starts[0] + one.num_windows * seq_length, seq_length))


def test_epochs_have_offsets_and_orders_of_their_own():
    one = source(num_tokens=32 * 101, batch_size=1)
    epochs = [
        [first_tokens(one.micro_batches_at(epoch * one.num_windows + window))[0] for window in range(one.num_windows)]
        for epoch in range(6)
    ]
    offsets = [min(starts) for starts in epochs]
    assert all(0 <= offset < 32 for offset in offsets)
    assert len(set(offsets)) > 2
    orders = [tuple(start - offset for start in starts) for starts, offset in zip(epochs, offsets, strict=True)]
    assert len(set(orders)) == 6
    assert all(list(order) != sorted(order) for order in orders)


def test_offsets_reach_over_the_whole_window():
    starts = {
        first_tokens(source(num_tokens=100, seed=seed, seq_length=4).micro_batches_at(0))[0] % 4 for seed in range(60)
    }
    assert starts == {0, 1, 2, 3}


def test_batch_may_straddle_two_epochs():
    one = source(num_tokens=32 * 6 + 5, batch_size=4)  # five windows: the second batch ends in the next epoch
    single = source(num_tokens=32 * 6 + 5, batch_size=1)
    assert one.num_windows == 5
    expected = [first_tokens(single.micro_batches_at(window))[0] for window in range(8)]
    assert first_tokens([*one.micro_batches_at(0), *one.micro_batches_at(1)]) == expected
    assert sorted(expected[:5])[-1] - min(expected[:5]) == 4 * 32


def test_epochs_are_counted_by_what_was_read():
    one = source(num_tokens=32 * 9, batch_size=4)  # eight windows
    assert [one.epoch_at(step) for step in (0, 1, 2, 5)] == [0, 0.5, 1, 2.5]


# ── too little text ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_split_shorter_than_one_window_is_refused():
    with pytest.raises(SourceTooShort, match="has 32 tokens; one window needs 33") as raised:
        source(num_tokens=32)
    assert raised.value.exit_code == 2
    assert raised.value.next_step


def test_split_of_exactly_one_window_is_read_whole():
    one = source(num_tokens=33, batch_size=3)
    assert one.num_windows == 1
    assert first_tokens(one.micro_batches_at(0)) == [0, 0, 0]


@pytest.mark.parametrize(("num_tokens", "windows"), [(33, 1), (64, 1), (65, 1), (95, 1), (96, 2), (97, 2), (320, 9)])
def test_windows_are_as_many_as_fit_at_every_offset(num_tokens, windows):
    assert count_windows(num_tokens, 32) == windows


# ── reading ahead ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_iterated_batches_are_the_ones_made_one_by_one():
    seen = list(source(batch_size=3, accumulation=3).iter_steps(4, 15))
    assert [step for step, _ in seen] == list(range(4, 15))
    for step, batches in seen:
        assert_same(batches, source(batch_size=3, accumulation=3).micro_batches_at(step))


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5)])
def test_nothing_is_read_where_there_is_nothing_to_do(start, stop):
    one = source()
    assert list(one.iter_steps(start, stop)) == []
    assert one._reader.reads == []


def test_next_batch_is_read_while_this_one_is_used():
    one = source(batch_size=1)
    steps = one.iter_steps(0, 5)
    next(steps)
    for _ in range(1000):
        if len(one._reader.reads) == 2:
            break
        threading.Event().wait(0.005)
    assert len(one._reader.reads) == 2  # this one and the next, no more
    steps.close()


def test_nothing_is_read_beyond_the_last_step():
    one = source(batch_size=1)
    list(one.iter_steps(0, 3))
    assert len(one._reader.reads) == 3


def test_error_of_the_reader_comes_at_the_step_that_needs_it():
    class Broken(Tokens):
        def read(self, start, stop):
            if len(self.reads) == 2:
                raise OSError(5, "the disk is gone")
            return super().read(start, stop)

    one = BatchSource(Broken(1000), seed=7, batch_size=1, accumulation=1, seq_length=32)
    steps = one.iter_steps(0, 5)
    assert [next(steps)[0], next(steps)[0]] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(steps)


def test_reader_that_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    for step, _ in source().iter_steps(0, 100):
        if step == 3:
            break
    assert threading.active_count() == before
