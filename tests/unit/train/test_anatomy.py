"""Facts about an update: groups, ratios, histograms, flags."""

import pytest

from trainwright.backends.protocol import LOWEST_OCTAVE, NUM_OCTAVES, WeightAnatomy
from trainwright.train.anatomy import EXPLODING_NORM, VANISHING_SHARE, describe_anatomy, find_flags, group_of


def octaves(**counts):
    """octaves(at_3=2): two elements between 2^3 and 2^4."""
    filled = {int(name.removeprefix("at_").replace("m", "-")): count for name, count in counts.items()}
    return tuple(filled.get(LOWEST_OCTAVE + bin_, 0) for bin_ in range(NUM_OCTAVES))


WEIGHTS = {
    "model.embed_tokens.weight": WeightAnatomy(0.6, 2.0, 0.02, octaves(at_m4=3)),
    "model.layers.0.mlp.up_proj.weight": WeightAnatomy(3.0, 4.0, 0.4, octaves(at_m2=5, at_0=1)),
    "model.layers.0.mlp.down_proj.weight": WeightAnatomy(4.0, 0.0, 0.3, octaves(at_m1=2)),
    "model.norm.weight": WeightAnatomy(0.0, 1.0, 0.0, octaves(at_m32=8)),
}


def test_weights_are_grouped_by_layer():
    groups, weights, flags = describe_anatomy(WEIGHTS)
    assert [group["name"] for group in groups] == ["embedding", "layer 0", "norm"]
    layer = groups[1]
    assert layer["gradient_norm"] == pytest.approx(5.0)
    assert layer["weight_norm"] == pytest.approx(4.0)
    assert layer["update_ratio"] == pytest.approx(0.5 / 4.0)
    assert (layer["first_octave"], layer["octaves"]) == (-2, [5, 2, 1])
    assert (groups[2]["first_octave"], groups[2]["octaves"]) == (LOWEST_OCTAVE, [8])
    assert weights[1] == ["model.layers.0.mlp.up_proj.weight", 3.0, 4.0, pytest.approx(0.1)]
    assert flags == []


def test_weight_that_was_zero_has_no_ratio():
    _, weights, _ = describe_anatomy(WEIGHTS)
    assert weights[2][3] is None


def test_gradients_that_explode_or_vanish_are_flagged():
    sound = {"embedding": 1.0, "layer 0": 1.0, "layer 1": 2 * VANISHING_SHARE, "norm": 1e-9}
    assert find_flags(sound) == []
    assert find_flags(sound | {"embedding": 1.01 * EXPLODING_NORM}) == ["exploding embedding"]
    assert find_flags(sound | {"layer 0": float("nan")}) == ["exploding layer 0"]
    assert find_flags(sound | {"layer 1": 0.5 * VANISHING_SHARE}) == ["vanishing layer 1"]


def test_every_name_has_its_group():
    assert group_of("model.layers.11.self_attn.q_proj.weight") == "layer 11"
    assert group_of("model.embed_tokens.weight") == "embedding"
    assert group_of("model.norm.weight") == "norm"
