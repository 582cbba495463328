"""The weights of a model by name: which there are, how they begin, and which of them Muon and weight decay touch.

Names and shapes are those of a Hugging Face `Qwen3ForCausalLM` with a tied embedding (so there is no `lm_head.weight`).
Weights are made once, in numpy, from the plan's seed: every backend starts from the same numbers.

A projection is stored [out, in], as `torch.nn.Linear` stores it.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import ImportedShape, ModelShape, Shape, TrainingPlan
from trainwright.core.seeds import build_generator
from trainwright.core.state import TrainingState

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"


def layer_prefix(layer: int) -> str:
    """What the names of one decoder layer begin with."""
    return f"model.layers.{layer}."


def require_own(shape: Shape, framework: str) -> ModelShape:
    """The shape of a decoder of our own. Raises UnsupportedPlan for a model that was made elsewhere."""
    if isinstance(shape, ImportedShape):
        raise UnsupportedPlan(
            f"The {framework} backend cannot run a model in the Hugging Face format.",
            why="It has our own decoder alone.",
            next_step="Set compute.framework=transformers (or auto).",
        )
    return shape


def weight_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """{name: shape} of every weight, in the order of the forward pass.

    Raises ValueError where the sizes make no decoder: an odd head dimension (rotary positions turn pairs), or query
    heads that cannot be shared out evenly over the key-value heads.
    """
    if shape.head_dim % 2:
        raise ValueError(f"head_dim is {shape.head_dim}; rotary positions need an even number")
    if shape.num_heads % shape.num_kv_heads:
        raise ValueError(f"num_heads {shape.num_heads} is not a multiple of num_kv_heads {shape.num_kv_heads}")
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (shape.vocab_size, shape.hidden_size)}
    for layer in range(shape.num_layers):
        prefix = layer_prefix(layer)
        shapes.update({prefix + name: size for name, size in _layer_shapes(shape).items()})
    shapes[FINAL_NORM] = (shape.hidden_size,)
    return shapes


def _layer_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    D, E, inner = shape.hidden_size, shape.head_dim, shape.intermediate_size
    queries, keys = shape.num_heads * E, shape.num_kv_heads * E
    return {
        "input_layernorm.weight": (D,),
        "self_attn.q_proj.weight": (queries, D),
        "self_attn.k_proj.weight": (keys, D),
        "self_attn.v_proj.weight": (keys, D),
        "self_attn.q_norm.weight": (E,),
        "self_attn.k_norm.weight": (E,),
        "self_attn.o_proj.weight": (D, queries),
        "post_attention_layernorm.weight": (D,),
        "mlp.gate_proj.weight": (inner, D),
        "mlp.up_proj.weight": (inner, D),
        "mlp.down_proj.weight": (D, inner),
    }


def weight_names(shape: ModelShape) -> tuple[str, ...]:
    """The names of every weight, in the order of the forward pass. Raises ValueError as `weight_shapes` does."""
    return tuple(weight_shapes(shape))


def is_matrix(name: str) -> bool:
    """Whether `name` is a matrix inside a layer: what Muon updates. Not the embedding, not a norm."""
    return name.endswith("_proj.weight")


def decays(name: str) -> bool:
    """Whether weight decay applies to `name`: to matrices and the embedding, never to a norm."""
    return is_matrix(name) or name == EMBEDDING


def build_initial_weights(shape: ModelShape, seed: int, init_scale: float) -> dict[str, NDArray[np.float32]]:
    """The weights before the first update, float32: a pure function of (shape, seed, init_scale).

    - embedding: normal with standard deviation `init_scale`; it is the head as well, so this is what makes the first
      prediction close to uniform;
    - q, k, v, gate, up: uniform with variance 1/fan_in (LeCun et al. 1998, "Efficient BackProp"), which keeps the
      variance of normed activations; uniform, because it has no outliers;
    - o, down: zero, so that every layer begins as the identity (Goyal et al. 2017 and Zhang et al. 2019, "Fixup");
    - norms: one.

    Each tensor has a generator of its own, named after it: adding a layer changes no other layer's numbers. Raises
    ValueError as `weight_shapes` does.
    """
    return {name: _initial_tensor(name, size, seed, init_scale) for name, size in weight_shapes(shape).items()}


def _initial_tensor(name: str, size: tuple[int, ...], seed: int, init_scale: float) -> NDArray[np.float32]:
    if name.endswith("norm.weight"):
        return np.ones(size, dtype=np.float32)
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        return np.zeros(size, dtype=np.float32)
    generator = build_generator(seed, "initial-weights", name)
    if name == EMBEDDING:
        return (init_scale * generator.standard_normal(size)).astype(np.float32)
    bound = float(np.sqrt(3.0 / size[1]))  # uniform on ±b has the variance b²/3
    return generator.uniform(-bound, bound, size).astype(np.float32)


RAW = "raw."
"""What the names of the weights that are trained begin with, where an average of them is what is handed out."""


def optimizer_state_shapes(
    shape: ModelShape, optimizer: Literal["adamw", "muon"], *, is_averaged: bool = False
) -> dict[str, tuple[int, ...]]:
    """{name: shape} of what the optimizer remembers: AdamW's two moments, Muon's momentum for the matrices it takes.

    `is_averaged`: the weights handed out are an average, so those that are trained are remembered too.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, size in weight_shapes(shape).items():
        if optimizer == "muon" and is_matrix(name):
            shapes[f"muon.momentum.{name}"] = size
        else:
            shapes[f"adamw.first.{name}"] = size
            shapes[f"adamw.second.{name}"] = size
        if is_averaged:
            shapes[RAW + name] = size
    return shapes


def build_initial_state(shape: ModelShape, training: TrainingPlan, seed: int) -> TrainingState:
    """The state before the first update: what a trainer with `build_initial_weights` has. Raises ValueError as they do."""
    return build_first_state(shape, training, build_initial_weights(shape, seed, training.init_scale))


def is_trained(name: str, shape: Shape) -> bool:
    """Whether a weight is one that is trained: with an adapter, the adapter's matrices alone."""
    has_adapter = isinstance(shape, ImportedShape) and shape.adapter is not None
    return not has_adapter or ".lora_" in name


def build_first_state(shape: Shape, training: TrainingPlan, weights: dict[str, NDArray[np.float32]]) -> TrainingState:
    """The state of a trainer that begins with `weights`: the optimizer remembers nothing yet."""
    is_averaged = training.ema_decay > 0
    weights = {name: array for name, array in weights.items() if is_trained(name, shape)}
    if isinstance(shape, ImportedShape):
        prefixes = ("adamw.first.", "adamw.second.", *((RAW,) if is_averaged else ()))
        sizes = {prefix + name: array.shape for name, array in weights.items() for prefix in prefixes}
    else:
        sizes = optimizer_state_shapes(shape, training.optimizer.name, is_averaged=is_averaged)
    optimizer: dict[str, NDArray[Any]] = {
        name: weights[name.removeprefix(RAW)].copy() if name.startswith(RAW) else np.zeros(size, np.float32)
        for name, size in sizes.items()
    }
    return TrainingState(weights, optimizer, num_updates=0)


def averaging_decay(ema_decay: float, num_updates: int) -> float:
    """d in average ← d·average + (1 − d)·weight after update t = `num_updates`: min(ema_decay, (1 + t)/(10 + t)).

    Early on, the average so forgets the initial weights soon. The warm start is that of TensorFlow's
    `tf.train.ExponentialMovingAverage` (its argument `num_updates`); averaging itself: Polyak and Juditsky 1992.
    """
    return min(ema_decay, (1 + num_updates) / (10 + num_updates))


def check_weights(shape: ModelShape, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError naming the first weight that is missing, has another shape, or does not belong."""
    _check_arrays("weight", weight_shapes(shape), weights)


def check_optimizer_state(
    shape: ModelShape,
    optimizer: Literal["adamw", "muon"],
    arrays: Mapping[str, NDArray[Any]],
    *,
    is_averaged: bool = False,
) -> None:
    """Raise ValueError naming the first optimizer array that is missing, has another shape, or does not belong."""
    _check_arrays("optimizer array", optimizer_state_shapes(shape, optimizer, is_averaged=is_averaged), arrays)


def _check_arrays(what: str, expected: Mapping[str, tuple[int, ...]], given: Mapping[str, NDArray[Any]]) -> None:
    for name, size in expected.items():
        if name not in given:
            raise ValueError(f"{what} {name} is missing")
        if given[name].shape != size:
            raise ValueError(f"{what} {name} has the shape {given[name].shape}, not {size}")
    for name in given:
        if name not in expected:
            raise ValueError(f"{what} {name} does not belong to this model")
