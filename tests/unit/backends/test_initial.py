"""The weights before the first update: names, shapes, distributions, and that they are the same everywhere."""

import hashlib

import numpy as np
import pytest

from trainwright.backends.initial import (
    EMBEDDING,
    build_initial_weights,
    check_optimizer_state,
    check_weights,
    decays,
    is_matrix,
    optimizer_state_shapes,
    weight_names,
    weight_shapes,
)
from trainwright.core.records import ModelShape

SHAPE = ModelShape(
    vocab_size=300, hidden_size=48, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, intermediate_size=80
)
Q0 = "model.layers.0.self_attn.q_proj.weight"


def test_names_and_shapes_are_those_of_a_hugging_face_qwen3():
    shapes = weight_shapes(SHAPE)
    prefix = "model.layers.1."
    assert {name.removeprefix(prefix): size for name, size in shapes.items() if name.startswith(prefix)} == {
        "input_layernorm.weight": (48,),
        "self_attn.q_proj.weight": (64, 48),
        "self_attn.k_proj.weight": (32, 48),
        "self_attn.v_proj.weight": (32, 48),
        "self_attn.q_norm.weight": (16,),
        "self_attn.k_norm.weight": (16,),
        "self_attn.o_proj.weight": (48, 64),
        "post_attention_layernorm.weight": (48,),
        "mlp.gate_proj.weight": (80, 48),
        "mlp.up_proj.weight": (80, 48),
        "mlp.down_proj.weight": (48, 80),
    }
    assert shapes["model.embed_tokens.weight"] == (300, 48)
    assert shapes["model.norm.weight"] == (48,)
    assert len(shapes) == 2 + 2 * 11


def test_number_of_weights_is_what_the_shape_says():
    weights = build_initial_weights(SHAPE, seed=1, init_scale=0.02)
    assert sum(array.size for array in weights.values()) == SHAPE.num_parameters
    assert tuple(weights) == weight_names(SHAPE)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_output_projections_are_zero_and_norms_are_one():
    for name, array in build_initial_weights(SHAPE, seed=1, init_scale=0.02).items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert not array.any(), name
        elif "norm" in name:
            assert (array == 1).all(), name
        else:
            assert np.unique(array).size > 0.9 * array.size, name


@pytest.mark.parametrize("init_scale", [0.02, 0.3])
def test_embedding_is_normal_with_the_scale_asked_for(init_scale):
    embedding = build_initial_weights(SHAPE, seed=1, init_scale=init_scale)[EMBEDDING]
    assert embedding.std() == pytest.approx(init_scale, rel=0.03)
    assert abs(embedding.mean()) < 0.03 * init_scale
    assert np.abs(embedding).max() > 3 * init_scale


@pytest.mark.parametrize("letter", ["self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"])
def test_input_projections_have_variance_one_over_fan_in(letter):
    matrix = build_initial_weights(SHAPE, seed=1, init_scale=0.02)[f"model.layers.1.{letter}_proj.weight"]
    assert matrix.var() == pytest.approx(1 / 48, rel=0.08)
    assert np.abs(matrix).max() <= (3 / 48) ** 0.5


def test_a_seed_gives_the_same_weights_on_every_machine():
    weights = build_initial_weights(SHAPE, seed=1337, init_scale=0.02)
    digest = hashlib.sha256(weights[Q0].astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == "421259512eca3756"
    np.testing.assert_allclose(weights[EMBEDDING][0, :3], [-0.04372824, 0.00855665, -0.00379697], atol=1e-7)


def test_every_tensor_has_numbers_of_its_own():
    weights = build_initial_weights(SHAPE, seed=7, init_scale=0.02)
    other_seed = build_initial_weights(SHAPE, seed=8, init_scale=0.02)
    assert not np.array_equal(weights[Q0], weights[Q0.replace("layers.0", "layers.1")])
    assert not np.array_equal(weights[Q0], other_seed[Q0])
    assert not np.array_equal(weights[EMBEDDING], other_seed[EMBEDDING])


def test_adding_a_layer_changes_no_other_tensor():
    deeper = build_initial_weights(SHAPE.model_copy(update={"num_layers": 3}), seed=7, init_scale=0.02)
    for name, array in build_initial_weights(SHAPE, seed=7, init_scale=0.02).items():
        np.testing.assert_array_equal(array, deeper[name])


def test_matrices_are_the_projections_and_only_norms_do_not_decay():
    assert {name.rpartition(".layers.")[2].partition(".")[2] for name in weight_names(SHAPE) if is_matrix(name)} == {
        f"{part}_proj.weight"
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
    }
    assert [name for name in weight_names(SHAPE) if decays(name) and not is_matrix(name)] == [EMBEDDING]
    assert all(("norm" in name) != decays(name) for name in weight_names(SHAPE))


def test_optimizer_state_is_two_moments_or_one_momentum():
    adamw, muon = optimizer_state_shapes(SHAPE, "adamw"), optimizer_state_shapes(SHAPE, "muon")
    assert adamw[f"adamw.first.{Q0}"] == adamw[f"adamw.second.{Q0}"] == muon[f"muon.momentum.{Q0}"] == (64, 48)
    assert f"adamw.first.{Q0}" not in muon
    assert muon[f"adamw.second.{EMBEDDING}"] == (300, 48)
    assert f"muon.momentum.{EMBEDDING}" not in muon
    assert len(adamw) == 2 * len(weight_shapes(SHAPE))


def test_a_missing_misshapen_or_foreign_weight_is_named():
    weights = build_initial_weights(SHAPE, seed=1, init_scale=0.02)
    check_weights(SHAPE, weights)
    with pytest.raises(ValueError, match=f"weight {Q0} is missing"):
        check_weights(SHAPE, {name: array for name, array in weights.items() if name != Q0})
    with pytest.raises(ValueError, match=rf"{Q0} has the shape \(48, 64\), not \(64, 48\)"):
        check_weights(SHAPE, weights | {Q0: weights[Q0].T})
    with pytest.raises(ValueError, match=r"lm_head\.weight does not belong"):
        check_weights(SHAPE, weights | {"lm_head.weight": weights[EMBEDDING]})


def test_another_optimizers_state_is_refused():
    arrays = {name: np.zeros(size, np.float32) for name, size in optimizer_state_shapes(SHAPE, "adamw").items()}
    check_optimizer_state(SHAPE, "adamw", arrays)
    with pytest.raises(ValueError, match=r"optimizer array muon\.momentum\.model\.layers\.0\S+ is missing"):
        check_optimizer_state(SHAPE, "muon", arrays)


@pytest.mark.parametrize(("key", "value", "reason"), [("head_dim", 15, "even"), ("num_kv_heads", 3, "not a multiple")])
def test_sizes_that_make_no_decoder_are_refused(key, value, reason):
    with pytest.raises(ValueError, match=reason):
        build_initial_weights(SHAPE.model_copy(update={key: value}), seed=1, init_scale=0.02)
