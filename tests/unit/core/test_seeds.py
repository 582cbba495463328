"""Seeds are pinned: were one of these numbers to change, every plan would train other weights."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.seeds import build_generator, derive_seed

PATHS = st.lists(st.integers(0, 10**9) | st.sampled_from(["epoch", "order", "offset", "dropout"]), max_size=3)


def test_seeds_are_the_pinned_ones():
    assert derive_seed(1337) == 296173638766254254
    assert derive_seed(1337, "dropout", 0) == 4924393523329110683
    assert derive_seed(1337, "epoch", 3, "order") == 8626851872570877113
    assert derive_seed(0, "initial-weights", "model.norm.weight") == 5911165104208747030


def test_stream_of_a_generator_is_the_pinned_one():
    generator = build_generator(1337, "epoch", 0, "order")
    assert generator.integers(0, 1000, 6).tolist() == [619, 306, 108, 103, 747, 772]
    assert build_generator(1337, "epoch", 0, "order").permutation(8).tolist() == [1, 4, 6, 2, 7, 0, 5, 3]
    assert build_generator(1337, "a").standard_normal() == -0.07757917618682375


@given(st.integers(0, 2**63 - 1), PATHS)
def test_seed_fits_a_signed_64_bit_integer(seed, path):
    assert 0 <= derive_seed(seed, *path) < 2**63


@given(st.integers(0, 2**63 - 1), PATHS, PATHS)
def test_seeds_of_two_purposes_differ(seed, path, other):
    if path != other:
        assert derive_seed(seed, *path) != derive_seed(seed, *other)


def test_generator_depends_on_nothing_but_its_path():
    first = build_generator(7, "a", 1)
    build_generator(7, "a", 2).random(100)
    np.random.default_rng().random(3)
    np.testing.assert_array_equal(first.random(10), build_generator(7, "a", 1).random(10))
    assert not np.array_equal(build_generator(7, "a", 1).random(10), build_generator(7, "a", 2).random(10))
