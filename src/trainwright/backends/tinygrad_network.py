"""The decoder in tinygrad: the forward pass and the loss, as expressions that `tinygrad_programs.py` compiles.

Shapes: B rows, T positions, S positions visible, D hidden, H query heads, K key-value heads, G = H/K, E head dimension,
V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinygrad import Tensor

from trainwright.backends.initial import EMBEDDING, FINAL_NORM, layer_prefix
from trainwright.core.records import ModelShape


class Scene(NamedTuple):
    """What a batch's positions stand in: cosine and sine [B, 1, T, E] of their angles, and what each of them sees.

    `visible_BTS` is true where the query sees the key. `masks` multiplies the output of each residual branch [2, B, T, D]
    of each layer; None: nothing is dropped.
    """

    cos_BTE: Tensor
    sin_BTE: Tensor
    visible_BTS: Tensor
    masks: Tensor | None = None


class Past(NamedTuple):
    """Keys and values [2, K, S, E] of one layer, and where new positions go into them.

    Position s of S takes the new position `sources_S[s]` where `is_new_S[s]`, and stays as it is elsewhere.
    """

    cache_2KSE: Tensor
    sources_S: Tensor
    is_new_S: Tensor


def run_layers(
    weights: Mapping[str, Tensor], shape: ModelShape, tokens_BT: Tensor, scene: Scene, pasts: Sequence[Past] = ()
) -> tuple[Tensor, list[Tensor]]:
    """Token ids to the normed hidden states [B, T, D] that the head reads, and each layer's renewed past."""
    x_BTD = weights[EMBEDDING][tokens_BT]
    renewed: list[Tensor] = []
    for layer in range(shape.num_layers):
        prefix = layer_prefix(layer)
        w = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        past = pasts[layer] if pasts else None
        branch, cache = attend(w, shape, rms_norm(x_BTD, w["input_layernorm.weight"], shape), scene, past)
        x_BTD = x_BTD + _drop(branch, scene, layer, 0)
        normed = rms_norm(x_BTD, w["post_attention_layernorm.weight"], shape)
        gate, up = linear(normed, w["mlp.gate_proj.weight"]), linear(normed, w["mlp.up_proj.weight"])
        x_BTD = x_BTD + _drop(linear(gate.silu() * up, w["mlp.down_proj.weight"]), scene, layer, 1)
        if cache is not None:
            renewed.append(cache)
    return rms_norm(x_BTD, weights[FINAL_NORM], shape), renewed


def attend(
    w: Mapping[str, Tensor], shape: ModelShape, x_BTD: Tensor, scene: Scene, past: Past | None
) -> tuple[Tensor, Tensor | None]:
    """Grouped-query attention with normed, turned queries and keys; its output [B, T, D] and the renewed past."""
    B, T, _ = x_BTD.shape
    E, K = shape.head_dim, shape.num_kv_heads

    def project(letter: str) -> Tensor:
        return linear(x_BTD, w[f"self_attn.{letter}_proj.weight"]).reshape(B, T, -1, E).transpose(1, 2)

    q_BHTE = turn(rms_norm(project("q"), w["self_attn.q_norm.weight"], shape), scene)
    k_BKSE = turn(rms_norm(project("k"), w["self_attn.k_norm.weight"], shape), scene)
    v_BKSE, cache = project("v"), None
    if past is not None:
        fresh_2KSE = Tensor.stack(k_BKSE[0], v_BKSE[0])[:, :, past.sources_S]
        cache = past.is_new_S.reshape(1, 1, -1, 1).where(fresh_2KSE, past.cache_2KSE).contiguous()
        k_BKSE, v_BKSE = cache[0].unsqueeze(0), cache[1].unsqueeze(0)
    q_BKGTE = q_BHTE.reshape(B, K, -1, T, E)
    scores = (q_BKGTE @ k_BKSE.unsqueeze(2).transpose(-1, -2)) * E**-0.5
    scores = scene.visible_BTS.reshape(B, 1, 1, T, -1).where(scores, float("-inf"))
    heads = (scores.softmax(-1) @ v_BKSE.unsqueeze(2)).reshape(B, -1, T, E).transpose(1, 2).reshape(B, T, -1)
    return linear(heads, w["self_attn.o_proj.weight"]), cache


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ."""
    return x @ weight.transpose(0, 1)


def rms_norm(x: Tensor, weight: Tensor, shape: ModelShape) -> Tensor:
    """w · x / sqrt(mean(x²) + ε) (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    return x * (x.square().mean(-1, keepdim=True) + shape.norm_epsilon).rsqrt() * weight


def turn(x_BHTE: Tensor, scene: Scene) -> Tensor:
    """Rotary positions in the half-split layout (Su et al. 2021, arXiv:2104.09864)."""
    left, right = x_BHTE.chunk(2, -1)
    return x_BHTE * scene.cos_BTE + (-right).cat(left, dim=-1) * scene.sin_BTE


class Judged(NamedTuple):
    """Per position, 0 where no target counts: negative log-likelihood in nats, training objective, whether it ranked first."""

    nll_BT: Tensor
    objective_BT: Tensor
    hits_BT: Tensor


def judge(hidden_BTD: Tensor, embedding_VD: Tensor, targets_BT: Tensor, smoothing: float) -> Judged:
    """Objective (1-s)·NLL + s·mean over V of -log p (Szegedy et al. 2016, arXiv:1512.00567). Targets < 0 count nowhere."""
    counts_BT = targets_BT >= 0
    logits_BTV = linear(hidden_BTD, embedding_VD).contiguous()  # once: what is compared below must be the same numbers
    highest_BT1 = logits_BTV.max(-1, keepdim=True)
    log_total_BT1 = (logits_BTV - highest_BT1).exp().sum(-1, keepdim=True).log() + highest_BT1
    target_BT1 = logits_BTV.gather(-1, targets_BT.maximum(0).unsqueeze(-1))
    nll_BT = (log_total_BT1 - target_BT1).squeeze(-1)
    objective_BT = nll_BT
    if smoothing:
        mean_BT = (log_total_BT1 - logits_BTV.mean(-1, keepdim=True)).squeeze(-1)
        objective_BT = (1 - smoothing) * nll_BT + smoothing * mean_BT
    hits_BT = (target_BT1 >= highest_BT1).squeeze(-1) & counts_BT
    return Judged(counts_BT.where(nll_BT, 0.0), counts_BT.where(objective_BT, 0.0), hits_BT)


def _drop(branch_BTD: Tensor, scene: Scene, layer: int, place: int) -> Tensor:
    return branch_BTD if scene.masks is None else branch_BTD * scene.masks[layer, place]
