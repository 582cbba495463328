"""Learning-rate curves, each against its formula, and what all of them promise."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.records import Schedule
from trainwright.train.schedule import learning_rate_factor

NAMES = ("constant", "linear", "cosine", "warmup-stable-decay", "step")
FALLING = ("linear", "cosine", "warmup-stable-decay")
by_name = pytest.mark.parametrize("name", NAMES)


def curve(name, num_steps, warmup=0, decay=0, floor=0.0, every=0, factor=0.5):
    schedule = Schedule(
        name=name, num_warmup_steps=warmup, num_decay_steps=decay, floor=floor, step_every=every, step_factor=factor
    )
    return [learning_rate_factor(schedule, step, num_steps) for step in range(num_steps)]


@st.composite
def curves(draw, names=NAMES):
    num_steps = draw(st.integers(1, 60))
    name = draw(st.sampled_from(names))
    warmup, decay = draw(st.integers(0, 80)), draw(st.integers(0, num_steps))
    floor = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    every, factor = draw(st.integers(1, 20)), draw(st.sampled_from([0.1, 0.5, 1.0]))
    return curve(name, num_steps, warmup, decay, floor, every, factor), warmup, floor


# ── the formulas ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_constant_by_hand():
    assert curve("constant", 5, warmup=2, floor=0.3) == [0.5, 1, 1, 1, 1]


def test_linear_by_hand():
    assert curve("linear", 4) == [1, 0.75, 0.5, 0.25]
    assert curve("linear", 6, warmup=3) == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])
    assert curve("linear", 4, floor=0.2) == pytest.approx([1, 0.8, 0.6, 0.4])


def test_cosine_by_hand():
    assert curve("cosine", 4) == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    assert curve("cosine", 4, floor=0.5)[2] == pytest.approx(0.75)


def test_warmup_stable_decay_by_hand():
    assert curve("warmup-stable-decay", 8, warmup=2, decay=3) == pytest.approx([0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert curve("warmup-stable-decay", 4, decay=0) == [1, 1, 1, 1]


def test_decay_that_reaches_into_the_warm_up_begins_at_the_peak():
    assert curve("warmup-stable-decay", 6, warmup=3, decay=6) == curve("linear", 6, warmup=3)


def test_step_by_hand():
    assert curve("step", 7, every=2) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert curve("step", 7, every=2, floor=0.3) == [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3]
    assert curve("step", 5, warmup=2, every=2, factor=0.1) == pytest.approx([0.5, 1, 1, 0.1, 0.1])


# ── warm-up ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@by_name
@pytest.mark.parametrize("warmup", [0, 1])
def test_run_without_a_real_warm_up_begins_at_its_peak(name, warmup):
    assert curve(name, 10, warmup=warmup, decay=5, every=3)[0] == 1.0


@by_name
@pytest.mark.parametrize("warmup", [2, 5, 10])
def test_warm_up_climbs_evenly_and_reaches_the_peak_exactly(name, warmup):
    climb = curve(name, 10, warmup=warmup, decay=2, every=3)[:warmup]
    assert climb == [(step + 1) / warmup for step in range(warmup)]
    assert climb[-1] == 1.0


@by_name
def test_warm_up_longer_than_the_run_only_climbs(name):
    assert curve(name, 4, warmup=8, decay=2, every=1) == [0.125, 0.25, 0.375, 0.5]


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────────────
@given(curves())
def test_no_step_has_a_rate_of_zero_or_one_beyond_the_peak(drawn):
    factors, _, _ = drawn
    assert all(0 < factor <= 1 for factor in factors)


@given(curves())
def test_peak_is_reached_exactly_where_the_run_is_long_enough(drawn):
    factors, warmup, _ = drawn
    if warmup <= len(factors):
        assert factors[max(warmup - 1, 0)] == 1.0


@given(curves())
def test_after_the_warm_up_it_never_rises_and_never_goes_below_the_floor(drawn):
    factors, warmup, floor = drawn
    fall = factors[max(warmup - 1, 0) :]
    assert all(later <= earlier for earlier, later in itertools.pairwise(fall))
    assert all(factor >= floor for factor in fall) or warmup > len(factors)


@given(st.sampled_from(FALLING), st.integers(1, 50), st.integers(0, 40), st.sampled_from([0.0, 0.1, 0.7]))
def test_floor_is_where_the_curve_would_be_one_step_after_the_last(name, num_steps, warmup, floor):
    schedule = Schedule(name=name, num_warmup_steps=min(warmup, num_steps), num_decay_steps=num_steps, floor=floor)
    assert learning_rate_factor(schedule, num_steps, num_steps) == pytest.approx(floor)
    assert learning_rate_factor(schedule, num_steps + 5, num_steps) == pytest.approx(floor)


@given(st.sampled_from(NAMES), st.permutations(range(20)))
def test_it_is_a_function_of_the_step_alone(name, order):
    schedule = Schedule(name=name, num_warmup_steps=3, num_decay_steps=9, floor=0.1, step_every=4, step_factor=0.5)
    asked = {step: learning_rate_factor(schedule, step, 20) for step in order}
    assert [asked[step] for step in range(20)] == curve(name, 20, 3, 9, 0.1, 4, 0.5)
