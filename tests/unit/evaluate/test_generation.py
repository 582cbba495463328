"""How the next token is drawn, and how a text ends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.reference import ReferenceModel
from trainwright.core.records import ModelShape
from trainwright.core.seeds import build_generator
from trainwright.evaluate.generation import Decoding, draw_token, iter_generated

SHAPE = ModelShape(
    vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
ALL = Decoding(temperature=1.0, top_k=0, top_p=1.0)


def logits(*probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float64)).astype(np.float32)


def draw(logits_V, decoding, count=300, seed=1):
    generator = build_generator(seed, "test")
    return [draw_token(logits_V, decoding, generator) for _ in range(count)]


class Script:
    """A model whose logits after each feed are given; it remembers what it was fed."""

    def __init__(self, *logits_V):
        self._logits = list(logits_V)
        self.fed = []

    def open_decoder(self):
        return self

    def feed(self, tokens):
        self.fed.append(list(tokens))
        return self._logits[min(len(self.fed), len(self._logits)) - 1]


def prefer(token, num_vocab=5):
    return np.where(np.arange(num_vocab) == token, 9.0, 0.0).astype(np.float32)


# ── one token ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_temperature_zero_takes_the_likeliest_and_of_equals_the_lowest():
    assert set(draw(logits(0.2, 0.5, 0.3), replace(ALL, temperature=0), 20)) == {1}
    assert set(draw(logits(0.2, 0.4, 0.4), replace(ALL, temperature=0), 20)) == {1}


def test_top_k_draws_among_the_k_likeliest():
    given_V = logits(0.1, 0.3, 0.2, 0.4)
    assert set(draw(given_V, replace(ALL, top_k=1))) == {3}
    assert set(draw(given_V, replace(ALL, top_k=2))) == {1, 3}
    assert set(draw(given_V, replace(ALL, top_k=4))) == set(draw(given_V, replace(ALL, top_k=99))) == {0, 1, 2, 3}


def test_top_k_takes_the_lowest_ids_of_equals():
    assert set(draw(logits(0.25, 0.25, 0.25, 0.25), replace(ALL, top_k=2))) == {0, 1}


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.0, {3}),
        (0.3, {3}),
        (0.41, {3, 1}),
        (0.69, {3, 1}),
        (0.71, {3, 1, 2}),
        (0.95, {3, 1, 2, 0}),
        (1.0, {0, 1, 2, 3}),
    ],
)
def test_top_p_keeps_the_fewest_tokens_whose_mass_reaches_it(top_p, kept):
    assert set(draw(logits(0.1, 0.3, 0.2, 0.4), replace(ALL, top_p=top_p))) == kept


def test_top_p_counts_the_mass_that_top_k_left():
    # Of 0.4, 0.3, 0.2, 0.1 the first two are left: 4/7 and 3/7. The first alone has less than 0.6.
    assert set(draw(logits(0.1, 0.3, 0.2, 0.4), replace(ALL, top_k=2, top_p=0.6))) == {1, 3}
    assert set(draw(logits(0.1, 0.3, 0.2, 0.4), replace(ALL, top_k=2, top_p=0.5))) == {3}


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        (ALL, [0.1, 0.3, 0.2, 0.4]),
        (replace(ALL, temperature=0.5), [1 / 30, 9 / 30, 4 / 30, 16 / 30]),  # squares
        (replace(ALL, temperature=2.0), list(np.sqrt([0.1, 0.3, 0.2, 0.4]) / np.sqrt([0.1, 0.3, 0.2, 0.4]).sum())),
        (replace(ALL, top_k=2), [0, 3 / 7, 0, 4 / 7]),
        (replace(ALL, top_p=0.8), [0, 3 / 9, 2 / 9, 4 / 9]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(decoding, expected):
    count = 6000
    drawn = np.bincount(draw(logits(0.1, 0.3, 0.2, 0.4), decoding, count, seed=3), minlength=4)
    expected = count * np.array(expected)
    assert np.all(drawn[expected == 0] == 0)
    kept = expected > 0
    chi_square = np.sum((drawn[kept] - expected[kept]) ** 2 / expected[kept])
    assert chi_square < 16.27  # the 99.9th percentile for three degrees of freedom; the seed is fixed


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20),
    st.floats(0.01, 5),
    st.integers(0, 25),
    st.floats(0, 1),
    st.integers(0, 2**40),
)
def test_whatever_is_drawn_is_among_the_likeliest_that_were_kept(values, temperature, top_k, top_p, seed):
    logits_V = np.array(values, np.float32)
    token = draw_token(logits_V, Decoding(9, temperature, top_k, top_p), build_generator(seed, "x"))
    assert 0 <= token < len(values)
    if top_k:
        assert np.count_nonzero(logits_V > logits_V[token]) < top_k
    probabilities = np.exp((logits_V.astype(np.float64) - logits_V.max()) / temperature)
    mass_before = probabilities[logits_V > logits_V[token]].sum() / probabilities.sum()
    assert mass_before < top_p + 1e-9 or np.argmax(logits_V) == token


@given(st.integers(0, 2**62))
def test_same_seed_draws_the_same(seed):
    given_V = logits(0.1, 0.3, 0.2, 0.4)
    assert draw(given_V, ALL, 5, seed) == draw(given_V, ALL, 5, seed)


def test_impossible_tokens_are_never_drawn():
    assert set(draw(logits(0.5, 0.0, 0.5, 0.0), ALL)) == {0, 2}


def test_huge_logits_do_not_overflow():
    assert set(draw(np.array([3e38, -3e38, 0], np.float32), replace(ALL, temperature=0.01))) == {0}


def test_draw_at_the_very_end_of_the_mass_is_the_last_token_that_has_any():
    class End:
        def random(self):
            return 1.0

    assert draw_token(logits(0.3, 0.5, 0.2, 0.0), ALL, End()) == 2
    assert draw_token(logits(0.3, 0.5, 0.2, 0.0), replace(ALL, top_k=2), End()) == 0


# ── a text ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_text_ends_before_the_end_token():
    model = Script(prefer(1), prefer(2), prefer(4), prefer(1))
    assert list(iter_generated(model, [3, 3], Decoding(10, temperature=0), end=4)) == [1, 2]
    assert model.fed == [[3, 3], [1], [2]]


def test_without_an_end_token_only_the_number_ends_it():
    assert list(iter_generated(Script(prefer(4)), [0], Decoding(6, temperature=0), end=None)) == [4] * 6


def test_nothing_is_computed_that_nobody_reads():
    model = Script(prefer(1))
    assert len(list(iter_generated(model, [0], Decoding(3, temperature=0), end=None))) == 3
    assert model.fed == [[0], [1], [1]]


def test_tokens_come_as_they_are_drawn():
    model = Script(prefer(1), prefer(2))
    tokens = iter_generated(model, [0], Decoding(9, temperature=0), end=None)
    assert next(tokens) == 1
    assert model.fed == [[0]]


def test_no_tokens_asked_for_is_no_text():
    assert list(iter_generated(Script(prefer(1)), [0], Decoding(0), end=None)) == []


@pytest.fixture(scope="module")
def model():
    weights = build_initial_weights(SHAPE, 3, init_scale=1.0)
    random = np.random.default_rng(0)
    return ReferenceModel(
        SHAPE, {name: a + random.normal(0, 0.3, a.shape).astype(np.float32) for name, a in weights.items()}
    )


def test_seed_decides_the_text(model):
    texts = {seed: list(iter_generated(model, [1, 2], Decoding(20, seed=seed), end=None)) for seed in (1, 2)}
    assert texts[1] == list(iter_generated(model, [1, 2], Decoding(20, seed=1), end=None))
    assert texts[1] != texts[2]
    assert all(0 <= token < SHAPE.vocab_size for token in texts[1] + texts[2])


def test_greedy_text_is_what_reading_it_all_again_would_say(model):
    prompt = [1, 2, 3]
    written = list(iter_generated(model, prompt, Decoding(12, temperature=0), end=None))
    for count, token in enumerate(written):
        assert token == int(np.argmax(model.open_decoder().feed(prompt + written[:count])))


def test_long_prompt_is_read_whole(model):
    prompt = [token % SHAPE.vocab_size for token in range(300)]
    written = list(iter_generated(model, prompt, Decoding(2, temperature=0), end=None))
    assert written[1] == int(np.argmax(model.open_decoder().feed([*prompt, written[0]])))
