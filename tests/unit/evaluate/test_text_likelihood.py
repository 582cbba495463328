"""A text's three sums, held against the model's own logits."""

import math

import numpy as np
import pytest

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.reference import ReferenceModel
from trainwright.core.records import ModelShape
from trainwright.evaluate.figures import measure
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.text_likelihood import score_text

SHAPE = ModelShape(
    vocab_size=128, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)


def encode(text):
    return [min(letter, 127) for letter in text.encode("utf-8")]


@pytest.fixture(scope="module")
def model():
    # Fresh weights look at nothing before the last token; these do.
    noise, weights = np.random.default_rng(2), build_initial_weights(SHAPE, seed=1, init_scale=0.5)
    return ReferenceModel(
        SHAPE, {name: value + noise.normal(0, 0.3, value.shape).astype(np.float32) for name, value in weights.items()}
    )


def read(item, model, window):
    return {row.metric: row.score for row in score_text(item, model, encode, window=window, first_context=0)}


def test_text_is_predicted_token_by_token_from_the_end_token_on(model):
    item = EvalItem(id="a", prompt="Über")
    found = read(item, model, window=64)
    decoder, nats, before = model.open_decoder(), 0.0, 0
    for token in encode("Über"):
        logits_V = decoder.feed([before])
        shifted = (logits_V - logits_V.max()).astype(np.float64)
        nats -= shifted[token] - math.log(np.exp(shifted).sum())
        before = token
    assert found["text_nats"] == pytest.approx(nats, rel=1e-5)
    assert (found["text_tokens"], found["text_bytes"]) == (5, 5)
    assert 0 <= found["text_correct"] <= 5


def test_long_text_is_read_in_windows_and_every_token_counted_once(model):
    item = EvalItem(id="a", prompt="abcdefghij")
    whole, cut = read(item, model, window=64), read(item, model, window=4)
    assert whole["text_tokens"] == cut["text_tokens"] == 10
    assert whole["text_nats"] != pytest.approx(cut["text_nats"], rel=1e-4)


def test_rows_give_perplexity_and_bits_per_byte(model):
    rows = [
        row
        for name in ("one", "another", "a third")
        for row in score_text(EvalItem(id=name, prompt=name), model, encode, window=64, first_context=0)
    ]
    nats = sum(row.score for row in rows if row.metric == "text_nats")
    tokens = sum(row.score for row in rows if row.metric == "text_tokens")
    assert measure("perplexity", rows).value == pytest.approx(math.exp(nats / tokens))
    assert measure("bits_per_byte", rows).value == pytest.approx(nats / math.log(2) / tokens)
