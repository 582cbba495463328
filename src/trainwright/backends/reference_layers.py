"""The decoder put together from the formulas of `reference_math.py`: forward, then the same way back.

    token ids ─embedding→ x ─┬─ RMSNorm → attention ─┬+→ x ─┬─ RMSNorm → SwiGLU ─┬+→ x … → RMSNorm → embeddingᵀ → logits
                             └──────────────────────┘       └────────────────────┘   (every layer)

Each block returns its result and a trace: what the way back needs to know about the way forward.

Shapes, as suffixes: B rows, T positions being computed, S positions visible, D hidden, H query heads, K key-value
heads, G = H/K, E head dimension, F = H·E, I intermediate, V vocabulary, N the positions of a batch that have a target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.initial import EMBEDDING, FINAL_NORM, layer_prefix
from trainwright.backends.protocol import IGNORED, Batch, count_within_segments
from trainwright.backends.reference_math import (
    Array,
    Rotation,
    attend,
    attend_backward,
    build_rotation,
    embedding_backward,
    linear,
    linear_backward,
    log_softmax,
    rms_norm,
    rms_norm_backward,
    rotate,
    rotation_at,
    smoothed_cross_entropy,
    smoothed_cross_entropy_backward,
    swiglu,
    swiglu_backward,
)
from trainwright.core.records import ModelShape, Shape
from trainwright.core.seeds import build_generator


# ── attention block ───────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Past:
    """Keys (normed and rotated) and values of the positions already read."""

    k_BKSE: Array
    v_BKSE: Array


@dataclass(frozen=True)
class AttentionTrace:
    """What the way back needs to know about the way forward through one attention block."""

    x_BTD: Array
    rotation: Rotation
    raw_q_BHTE: Array
    raw_k_BKTE: Array
    inverse_rms_q: Array
    inverse_rms_k: Array
    q_BKGTE: Array
    seen: Past
    probabilities: Array
    heads_BTF: Array


def split_heads(x_BTF: Array, head_dim: int) -> Array:
    """[B, T, heads·E] → [B, heads, T, E]."""
    B, T, _ = x_BTF.shape
    return x_BTF.reshape(B, T, -1, head_dim).swapaxes(1, 2)


def join_heads(x_BHTE: Array) -> Array:
    """[B, heads, T, E] → [B, T, heads·E]."""
    B, _, T, _ = x_BHTE.shape
    return np.ascontiguousarray(x_BHTE.swapaxes(1, 2)).reshape(B, T, -1)


def attention(
    x_BTD: Array,
    w: Mapping[str, Array],
    shape: ModelShape,
    rotation: Rotation,
    past: Past | None = None,
    elsewhere_BTT: NDArray[np.bool_] | None = None,
) -> tuple[Array, AttentionTrace]:
    """Project to queries, keys and values; norm queries and keys per head; rotate them; attend; project back.

    `elsewhere_BTT` is true where the key belongs to another segment than the query (None: a row is one segment).
    Norming q and k: Henry et al. 2020, "Query-Key Normalization for Transformers", with RMSNorm as Qwen3 has it.
    """
    B, T, _ = x_BTD.shape
    E, K = shape.head_dim, shape.num_kv_heads
    raw_q = split_heads(linear(x_BTD, w["self_attn.q_proj.weight"]), E)
    raw_k = split_heads(linear(x_BTD, w["self_attn.k_proj.weight"]), E)
    v = split_heads(linear(x_BTD, w["self_attn.v_proj.weight"]), E)
    normed_q, inverse_rms_q = rms_norm(raw_q, w["self_attn.q_norm.weight"], shape.norm_epsilon)
    normed_k, inverse_rms_k = rms_norm(raw_k, w["self_attn.k_norm.weight"], shape.norm_epsilon)
    q_BKGTE = rotate(normed_q, rotation).reshape(B, K, -1, T, E)
    seen = Past(rotate(normed_k, rotation), v)
    if past is not None:
        seen = Past(np.concatenate([past.k_BKSE, seen.k_BKSE], 2), np.concatenate([past.v_BKSE, seen.v_BKSE], 2))
    y_BKGTE, probabilities = attend(q_BKGTE, seen.k_BKSE, seen.v_BKSE, elsewhere_BTT)
    heads_BTF = join_heads(y_BKGTE.reshape(B, -1, T, E))
    trace = AttentionTrace(
        x_BTD, rotation, raw_q, raw_k, inverse_rms_q, inverse_rms_k, q_BKGTE, seen, probabilities, heads_BTF
    )
    return linear(heads_BTF, w["self_attn.o_proj.weight"]), trace


def attention_backward(
    dy_BTD: Array, trace: AttentionTrace, w: Mapping[str, Array], shape: ModelShape
) -> tuple[Array, dict[str, Array]]:
    """(dx, gradients by short name) of `attention` without a past."""
    g: dict[str, Array] = {}
    d_heads, g["self_attn.o_proj.weight"] = linear_backward(dy_BTD, trace.heads_BTF, w["self_attn.o_proj.weight"])
    dy_BKGTE = split_heads(d_heads, shape.head_dim).reshape(trace.q_BKGTE.shape)
    dq_BKGTE, dk, dv = attend_backward(
        dy_BKGTE, trace.q_BKGTE, trace.seen.k_BKSE, trace.seen.v_BKSE, trace.probabilities
    )
    back = trace.rotation.reversed()
    d_raw_q, g["self_attn.q_norm.weight"] = rms_norm_backward(
        rotate(dq_BKGTE.reshape(trace.raw_q_BHTE.shape), back),
        trace.raw_q_BHTE,
        w["self_attn.q_norm.weight"],
        trace.inverse_rms_q,
    )
    d_raw_k, g["self_attn.k_norm.weight"] = rms_norm_backward(
        rotate(dk, back), trace.raw_k_BKTE, w["self_attn.k_norm.weight"], trace.inverse_rms_k
    )
    dx_BTD = np.zeros_like(trace.x_BTD)
    for letter, d_projected in (("q", d_raw_q), ("k", d_raw_k), ("v", dv)):
        name = f"self_attn.{letter}_proj.weight"
        dx, g[name] = linear_backward(join_heads(d_projected), trace.x_BTD, w[name])
        dx_BTD += dx
    return dx_BTD, g


# ── feed-forward block ────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class FeedForwardTrace:
    """What the way back needs to know about the way forward through one feed-forward block."""

    x_BTD: Array
    gate_BTI: Array
    up_BTI: Array
    inner_BTI: Array


def feed_forward(x_BTD: Array, w: Mapping[str, Array]) -> tuple[Array, FeedForwardTrace]:
    """down(silu(gate(x)) · up(x))."""
    gate = linear(x_BTD, w["mlp.gate_proj.weight"])
    up = linear(x_BTD, w["mlp.up_proj.weight"])
    inner = swiglu(gate, up)
    return linear(inner, w["mlp.down_proj.weight"]), FeedForwardTrace(x_BTD, gate, up, inner)


def feed_forward_backward(
    dy_BTD: Array, trace: FeedForwardTrace, w: Mapping[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """(dx, gradients by short name) of `feed_forward`."""
    g: dict[str, Array] = {}
    d_inner, g["mlp.down_proj.weight"] = linear_backward(dy_BTD, trace.inner_BTI, w["mlp.down_proj.weight"])
    d_gate, d_up = swiglu_backward(d_inner, trace.gate_BTI, trace.up_BTI)
    dx_gate, g["mlp.gate_proj.weight"] = linear_backward(d_gate, trace.x_BTD, w["mlp.gate_proj.weight"])
    dx_up, g["mlp.up_proj.weight"] = linear_backward(d_up, trace.x_BTD, w["mlp.up_proj.weight"])
    return dx_gate + dx_up, g


# ── layer ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Dropout:
    """Inverted dropout on the output of each residual branch: Srivastava et al. 2014, section 10.

    Each branch of each layer has its own stream of random numbers, drawn row after row of the global batch: the masks
    depend on the seed alone, not on how the batch was cut into micro-batches.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.seed = seed
        self._streams: dict[tuple[int, str], np.random.Generator] = {}

    def draw(self, like: Array, layer: int, branch: str) -> Array | None:
        """0 or 1/(1 − rate) for each element of the branch; None where nothing is dropped."""
        if self.rate == 0.0:
            return None
        stream = self._streams.setdefault((layer, branch), build_generator(self.seed, "dropout", layer, branch))
        is_kept = stream.random(like.shape, dtype=np.float32) >= self.rate
        return is_kept.astype(like.dtype) / (1.0 - self.rate)


NO_DROPOUT = Dropout(0.0, 0)


def masked(x: Array, mask: Array | None) -> Array:
    """x · mask, or x where there is no mask. It is its own gradient."""
    return x if mask is None else x * mask


@dataclass(frozen=True)
class LayerTrace:
    """What the way back needs to know about the way forward through one layer."""

    x_BTD: Array
    inverse_rms: Array
    attention: AttentionTrace
    attention_mask: Array | None
    middle_BTD: Array
    middle_inverse_rms: Array
    feed_forward: FeedForwardTrace
    feed_forward_mask: Array | None


@dataclass(frozen=True)
class Layer:
    """One decoder layer: its place, its sizes, and its weights by short name ("mlp.up_proj.weight")."""

    index: int
    shape: ModelShape
    weights: Mapping[str, Array]

    def forward(
        self,
        x_BTD: Array,
        rotation: Rotation,
        dropout: Dropout,
        past: Past | None = None,
        elsewhere_BTT: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, LayerTrace]:
        """x ← x + attention(RMSNorm(x)); x ← x + feed_forward(RMSNorm(x)). Pre-norm: Xiong et al. 2020."""
        w, epsilon = self.weights, self.shape.norm_epsilon
        normed, inverse_rms = rms_norm(x_BTD, w["input_layernorm.weight"], epsilon)
        branch, attention_trace = attention(normed, w, self.shape, rotation, past, elsewhere_BTT)
        attention_mask = dropout.draw(branch, self.index, "attention")
        middle = x_BTD + masked(branch, attention_mask)
        normed, middle_inverse_rms = rms_norm(middle, w["post_attention_layernorm.weight"], epsilon)
        branch, feed_forward_trace = feed_forward(normed, w)
        feed_forward_mask = dropout.draw(branch, self.index, "feed-forward")
        trace = LayerTrace(
            x_BTD,
            inverse_rms,
            attention_trace,
            attention_mask,
            middle,
            middle_inverse_rms,
            feed_forward_trace,
            feed_forward_mask,
        )
        return middle + masked(branch, feed_forward_mask), trace

    def backward(self, dy_BTD: Array, trace: LayerTrace) -> tuple[Array, dict[str, Array]]:
        """(dx, gradients by short name): the sum's gradient goes both along the residual and through the branch."""
        w = self.weights
        d_normed, g = feed_forward_backward(masked(dy_BTD, trace.feed_forward_mask), trace.feed_forward, w)
        d_branch, g["post_attention_layernorm.weight"] = rms_norm_backward(
            d_normed, trace.middle_BTD, w["post_attention_layernorm.weight"], trace.middle_inverse_rms
        )
        d_middle = dy_BTD + d_branch
        d_normed, attention_gradients = attention_backward(
            masked(d_middle, trace.attention_mask), trace.attention, w, self.shape
        )
        d_branch, g["input_layernorm.weight"] = rms_norm_backward(
            d_normed, trace.x_BTD, w["input_layernorm.weight"], trace.inverse_rms
        )
        return d_middle + d_branch, g | attention_gradients


# ── the whole model ───────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class MicroBatchResult:
    """Sums over the targets of one micro-batch, in nats, and the gradient by weight name."""

    nll_sum: float
    objective_sum: float
    num_correct: int
    gradients: dict[str, Array]


def layers_of(weights: Mapping[str, Array], shape: ModelShape) -> list[Layer]:
    """The decoder layers, each with views of its own weights."""
    layers = []
    for index in range(shape.num_layers):
        prefix = layer_prefix(index)
        own = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
        layers.append(Layer(index, shape, own))
    return layers


def place_batch(
    batch: Batch, shape: ModelShape, dtype: type[np.floating[Any]]
) -> tuple[Rotation, NDArray[np.bool_] | None]:
    """The rotation of a batch's positions, and which keys belong to another segment than the query (None: none do)."""
    rotation = build_rotation(0, batch.tokens_BT.shape[1], shape.head_dim, shape.rope_theta, dtype)
    if batch.segments_BT is None:
        return rotation, None
    elsewhere_BTT = batch.segments_BT[:, :, None] != batch.segments_BT[:, None, :]
    return rotation_at(rotation, count_within_segments(batch.segments_BT)), elsewhere_BTT


def compute_micro_batch(
    weights: Mapping[str, Array],
    shape: ModelShape,
    batch: Batch,
    num_targets: int,
    smoothing: float = 0.0,
    dropout: Dropout = NO_DROPOUT,
) -> MicroBatchResult:
    """Forward and back again. The gradient is that of (Σ objective over this micro-batch's targets) / `num_targets`.

    `num_targets` counts the targets of the whole global batch, so that gradients of its micro-batches simply add up.
    """
    embedding = weights[EMBEDDING]
    rotation, elsewhere_BTT = place_batch(batch, shape, embedding.dtype.type)
    x_BTD = embedding[batch.tokens_BT]
    layers = layers_of(weights, shape)
    traces: list[LayerTrace] = []
    for layer in layers:
        x_BTD, trace = layer.forward(x_BTD, rotation, dropout, None, elsewhere_BTT)
        traces.append(trace)
    normed_BTD, inverse_rms = rms_norm(x_BTD, weights[FINAL_NORM], shape.norm_epsilon)

    counts_BT = batch.targets_BT != IGNORED
    hidden_ND, targets_N = normed_BTD[counts_BT], batch.targets_BT[counts_BT]
    logits_NV = linear(hidden_ND, embedding)
    log_p_NV = log_softmax(logits_NV)
    nll_N, objective_N = smoothed_cross_entropy(log_p_NV, targets_N, smoothing)

    d_logits_NV = smoothed_cross_entropy_backward(log_p_NV, targets_N, smoothing) / num_targets
    dx_ND, d_head_VD = linear_backward(d_logits_NV, hidden_ND, embedding)
    d_normed_BTD = np.zeros_like(normed_BTD)
    d_normed_BTD[counts_BT] = dx_ND
    gradients: dict[str, Array] = {}
    dx_BTD, gradients[FINAL_NORM] = rms_norm_backward(d_normed_BTD, x_BTD, weights[FINAL_NORM], inverse_rms)
    while traces:  # popping frees each layer's trace as soon as it has been used
        layer = layers[len(traces) - 1]
        dx_BTD, layer_gradients = layer.backward(dx_BTD, traces.pop())
        gradients.update({layer_prefix(layer.index) + name: array for name, array in layer_gradients.items()})
    # Tied: the embedding is the head as well (Press and Wolf 2017), so it collects from both of its uses.
    gradients[EMBEDDING] = d_head_VD + embedding_backward(dx_BTD, batch.tokens_BT, shape.vocab_size)

    num_correct = int(np.count_nonzero(logits_NV.argmax(axis=-1) == targets_N))
    return MicroBatchResult(
        float(nll_N.sum(dtype=np.float64)), float(objective_N.sum(dtype=np.float64)), num_correct, gradients
    )


def require_valid_batch(batch: Batch, shape: Shape) -> None:
    """Raise ValueError where the arrays differ in shape, hold an id outside the vocabulary, or number segments otherwise.

    numpy would read a negative id from the end of the embedding without a word.
    """
    tokens, targets = batch.tokens_BT, batch.targets_BT
    if tokens.ndim != 2 or tokens.shape != targets.shape or tokens.size == 0:
        raise ValueError(f"tokens {tokens.shape} and targets {targets.shape} are not one non-empty [B, T]")
    counted = targets[targets != IGNORED]
    for what, ids in (("token", tokens), ("target", counted)):
        if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= shape.vocab_size):
            raise ValueError(f"a {what} id lies outside the vocabulary of {shape.vocab_size}")
    segments = batch.segments_BT
    if segments is not None and (
        segments.shape != tokens.shape or segments[:, 0].any() or not np.isin(np.diff(segments, axis=1), (0, 1)).all()
    ):
        raise ValueError("segments are not numbered 0, 1, 2, … from left to right in each row")
