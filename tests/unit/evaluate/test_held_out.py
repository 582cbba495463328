"""Held-out likelihood, against sums done by hand with a model whose probabilities are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.backends.initial import weight_shapes
from trainwright.backends.protocol import IGNORED, Scores
from trainwright.backends.reference import ReferenceModel
from trainwright.core.records import ModelShape
from trainwright.evaluate.held_out import Likelihood, iter_windows, measure_likelihood

END = 99


class Tokens:
    def __init__(self, ids):
        self.ids = np.asarray(ids, dtype=np.int32)

    @property
    def num_tokens(self):
        return len(self.ids)

    def read(self, start, stop):
        assert 0 <= start < stop <= len(self.ids), f"read outside the split: {start}…{stop}"
        return self.ids[start:stop]


class BigramModel:
    """Knows p(next | previous) and nothing else; ranks first what it thinks likeliest."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.shapes = []

    def score(self, batch):
        self.shapes.append(batch.tokens_BT.shape)
        nll = np.full(batch.tokens_BT.shape, 1e9, np.float32)  # what is ignored must not be counted
        correct = np.ones(batch.tokens_BT.shape, np.bool_)
        for place in np.argwhere(batch.targets_BT != IGNORED):
            before, target = batch.tokens_BT[tuple(place)], batch.targets_BT[tuple(place)]
            row = self.probabilities[before]
            nll[tuple(place)] = -math.log(row[target])
            correct[tuple(place)] = max(row, key=row.get) == target
        nll[batch.targets_BT == IGNORED] = 0
        return Scores(nll, correct)


def windows(num_tokens, seq_length, batch_size):
    reader = Tokens(np.arange(num_tokens) + 100)
    return list(iter_windows(reader, seq_length=seq_length, batch_size=batch_size, first_context=END))


# ── windows ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_every_token_is_predicted_exactly_once_from_the_one_before_it(num_tokens, seq_length, batch_size):
    predicted = []
    for batch in windows(num_tokens, seq_length, batch_size):
        assert batch.tokens_BT.shape == batch.targets_BT.shape == (batch_size, seq_length)
        assert batch.tokens_BT.dtype == batch.targets_BT.dtype == np.int32
        for tokens, targets in zip(batch.tokens_BT, batch.targets_BT, strict=True):
            counts = targets != IGNORED
            assert not np.any(np.diff(counts.astype(int)) > 0)  # what is missing is missing at the end
            predicted += targets[counts].tolist()
            np.testing.assert_array_equal(tokens[1:][counts[1:]], targets[:-1][counts[1:]])
            if counts[0]:
                assert tokens[0] == (END if targets[0] == 100 else targets[0] - 1)
    assert predicted == [*range(100, 100 + num_tokens)]


def test_windows_by_hand():
    first, second = windows(5, 2, 2)
    np.testing.assert_array_equal(first.tokens_BT, [[END, 100], [101, 102]])
    np.testing.assert_array_equal(first.targets_BT, [[100, 101], [102, 103]])
    np.testing.assert_array_equal(second.targets_BT, [[104, IGNORED], [IGNORED, IGNORED]])
    assert second.tokens_BT[0, 0] == 103


def test_padding_is_a_token_that_every_model_knows():
    assert np.all(windows(5, 4, 3)[0].tokens_BT[2] == 0)


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────────────────────────
PROBABILITIES = {
    END: {0: 0.5, 1: 0.25, 2: 0.25},
    0: {0: 0.125, 1: 0.75, 2: 0.125},
    1: {0: 0.25, 1: 0.25, 2: 0.5},
    2: {0: 0.5, 1: 0.375, 2: 0.125},
}


@pytest.mark.parametrize(("seq_length", "batch_size"), [(1, 1), (2, 1), (2, 8), (3, 2), (5, 1), (100, 4)])
def test_metrics_by_hand(seq_length, batch_size):
    # end→0 (1/2, first), 0→1 (3/4, first), 1→1 (1/4), 1→2 (1/2, first), 2→1 (3/8)
    model = BigramModel(PROBABILITIES)
    found = measure_likelihood(
        model, Tokens([0, 1, 1, 2, 1]), num_bytes=7, seq_length=seq_length, batch_size=batch_size, first_context=END
    )
    product = 1 / 2 * 3 / 4 * 1 / 4 * 1 / 2 * 3 / 8
    assert found.nll_sum == pytest.approx(-math.log(product), rel=1e-6)
    assert (found.num_tokens, found.num_correct, found.num_bytes) == (5, 3, 7)
    assert found.val_loss == pytest.approx(-math.log(product) / 5, rel=1e-6)
    assert found.perplexity == pytest.approx(product ** (-1 / 5), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(-math.log2(product) / 7, rel=1e-6)
    assert found.accuracy == 0.6
    assert set(model.shapes) == {(batch_size, seq_length)}


@given(st.integers(1, 50), st.integers(1, 200))
def test_guessing_costs_log2_of_the_vocabulary_for_each_token(num_tokens, num_bytes):
    uniform = dict.fromkeys(range(16), 1 / 16)
    model = BigramModel(dict.fromkeys((END, *range(16)), uniform))
    reader = Tokens(np.arange(num_tokens) % 16)
    found = measure_likelihood(model, reader, num_bytes=num_bytes, seq_length=8, batch_size=2, first_context=END)
    assert found.val_loss == pytest.approx(math.log(16), rel=1e-6)
    assert found.perplexity == pytest.approx(16, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(4 * num_tokens / num_bytes, rel=1e-6)


def test_untrained_decoder_with_equal_logits_guesses():
    shape = ModelShape(
        vocab_size=12, hidden_size=4, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=2, intermediate_size=4
    )
    model = ReferenceModel(shape, {name: np.zeros(size, np.float32) for name, size in weight_shapes(shape).items()})
    reader = Tokens(np.arange(30) % 12)
    found = measure_likelihood(model, reader, num_bytes=30, seq_length=8, batch_size=3, first_context=0)
    assert found.val_loss == pytest.approx(math.log(12), rel=1e-6)
    assert found.num_correct == 3  # of equal logits the lowest id ranks first: token 0, three times in thirty


def test_sum_over_a_long_split_is_not_rounded_away():
    class Flat:
        def score(self, batch):
            return Scores(np.full(batch.tokens_BT.shape, 0.1, np.float32), np.zeros(batch.tokens_BT.shape, np.bool_))

    found = measure_likelihood(
        Flat(), Tokens(np.zeros(2**20)), num_bytes=1, seq_length=1024, batch_size=64, first_context=0
    )
    assert found.val_loss == pytest.approx(np.float64(np.float32(0.1)), rel=1e-12)


def test_perplexity_that_overflows_is_infinite_and_of_no_number_is_none():
    assert Likelihood(1e6, 1, 0, 1).perplexity == math.inf
    assert Likelihood(700.0, 1, 0, 1).perplexity == math.inf
    assert Likelihood(math.inf, 1, 0, 1).perplexity == math.inf
    assert Likelihood(699.0, 1, 0, 1).perplexity == math.exp(699)
    assert math.isnan(Likelihood(math.nan, 1, 0, 1).perplexity)
