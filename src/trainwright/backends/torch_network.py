"""The decoder in PyTorch: one forward pass, shaped for speed on a CPU, and the same on an accelerator.

Three things make it fast, and none changes what is computed: queries, keys and values are one product, as are gate and up;
the head and its cross-entropy are one function that goes through the rows in chunks and has its gradients ready when the
loss is, so that the logits of a whole batch never exist; attention keeps its probabilities, whose backward pass is cheaper
at these lengths than recomputing them.

Shapes: B rows, T positions, D hidden, H query heads, K key-value heads, E head dimension, I intermediate, V vocabulary,
N = B·T positions of a chunk.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainwright.backends.initial import EMBEDDING, FINAL_NORM, layer_prefix
from trainwright.core.records import ModelShape
from trainwright.core.state import Weights

CHUNK_ROWS = 512
"""Positions whose logits exist at one time."""

LONGEST_KEPT = 512
"""Windows up to this length keep their attention probabilities; longer ones recompute them, to save memory."""

Parameters = dict[str, Tensor]
"""Packed weights: "embedding", "norm", and for layer i "{i}.qkv", "{i}.out", "{i}.gate_up", "{i}.down" and four norms."""

_PACKED = {
    "qkv": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "out": ("self_attn.o_proj.weight",),
    "gate_up": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "down": ("mlp.down_proj.weight",),
    "norm_attention": ("input_layernorm.weight",),
    "norm_mlp": ("post_attention_layernorm.weight",),
    "norm_query": ("self_attn.q_norm.weight",),
    "norm_key": ("self_attn.k_norm.weight",),
}


@dataclass(frozen=True)
class Arithmetic:
    """How the forward pass computes: `dtype` of the products, dropout probability, label smoothing."""

    dtype: torch.dtype
    dropout: float = 0.0
    label_smoothing: float = 0.0


def packed_names(shape: ModelShape) -> dict[str, tuple[str, ...]]:
    """{packed name: the standard names it is made of, in order}."""
    names: dict[str, tuple[str, ...]] = {"embedding": (EMBEDDING,), "norm": (FINAL_NORM,)}
    for layer in range(shape.num_layers):
        for packed, parts in _PACKED.items():
            names[f"{layer}.{packed}"] = tuple(layer_prefix(layer) + part for part in parts)
    return names


def pack(weights: Weights, shape: ModelShape, device: str) -> Parameters:
    """Standard arrays as packed float32 tensors on `device` (always copies)."""
    packed = {}
    for name, parts in packed_names(shape).items():
        tensors = [torch.tensor(weights[part], dtype=torch.float32) for part in parts]
        packed[name] = torch.cat(tensors).to(device) if len(tensors) > 1 else tensors[0].to(device)
    return packed


def split_packed(tensors: Parameters, shape: ModelShape) -> dict[str, Tensor]:
    """Packed tensors as views under their standard names."""
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    views: dict[str, Tensor] = {}
    for name, parts in packed_names(shape).items():
        if name in tensors:
            tensor = tensors[name]
            sizes = [queries, keys, keys] if len(parts) == 3 else [tensor.shape[0] // len(parts)] * len(parts)
            views.update(zip(parts, torch.split(tensor, sizes), strict=True))
    return views


@dataclass(frozen=True)
class Rotary:
    """cos and sin [T, E] of rotary positions (Su et al. 2021, arXiv:2104.09864, in the half-split layout)."""

    cos_TE: Tensor
    sin_TE: Tensor

    @classmethod
    def build(cls, shape: ModelShape, num_positions: int, device: str, first: int = 0) -> "Rotary":
        """Angles of the positions first … first + num_positions - 1, worked out in float64."""
        pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        positions = torch.arange(first, first + num_positions, dtype=torch.float64)
        angles_TE = torch.outer(positions, shape.rope_theta**-pairs).repeat(1, 2)
        return cls(angles_TE.cos().float().to(device), angles_TE.sin().float().to(device))

    def turn(self, x_BHTE: Tensor) -> Tensor:
        """Rotate queries or keys."""
        left, right = x_BHTE.chunk(2, -1)
        return x_BHTE * self.cos_TE + torch.cat((-right, left), -1) * self.sin_TE


def causal_bias(num_positions: int, device: str) -> Tensor:
    """[T, T]: 0 where a position may look, -inf where it may not."""
    return torch.full((num_positions, num_positions), float("-inf"), device=device).triu(1)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm in float32 (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def project_heads(
    p: Parameters, layer: int, x_BTD: Tensor, rotary: Rotary, shape: ModelShape, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, H, T, E], keys and values [B, K, T, E], normed per head and turned."""
    B, T, _ = x_BTD.shape
    E = shape.head_dim
    sizes = [shape.num_heads * E, shape.num_kv_heads * E, shape.num_kv_heads * E]
    normed = rms_norm(x_BTD, p[f"{layer}.norm_attention"], shape.norm_epsilon).to(dtype)
    q, k, v = torch.split(normed @ p[f"{layer}.qkv"].to(dtype).t(), sizes, -1)
    q_BHTE = rms_norm(q.view(B, T, -1, E).transpose(1, 2), p[f"{layer}.norm_query"], shape.norm_epsilon)
    k_BKTE = rms_norm(k.view(B, T, -1, E).transpose(1, 2), p[f"{layer}.norm_key"], shape.norm_epsilon)
    return rotary.turn(q_BHTE).to(dtype), rotary.turn(k_BKTE).to(dtype), v.view(B, T, -1, E).transpose(1, 2)


def finish_layer(
    p: Parameters, layer: int, x_BTD: Tensor, attended_BHTE: Tensor, shape: ModelShape, arithmetic: Arithmetic
) -> Tensor:
    """The rest of a layer: output projection, residual, SwiGLU (Shazeer 2020, arXiv:2002.05202), residual."""
    dtype = arithmetic.dtype
    B, T, _ = x_BTD.shape
    attended = attended_BHTE.transpose(1, 2).reshape(B, T, -1)
    x_BTD = x_BTD + _drop((attended @ p[f"{layer}.out"].to(dtype).t()).float(), arithmetic)
    normed = rms_norm(x_BTD, p[f"{layer}.norm_mlp"], shape.norm_epsilon).to(dtype)
    gate, up = (normed @ p[f"{layer}.gate_up"].to(dtype).t()).chunk(2, -1)
    inner = (F.silu(gate.float()) * up.float()).to(dtype)
    return x_BTD + _drop((inner @ p[f"{layer}.down"].to(dtype).t()).float(), arithmetic)


def run_layers(
    p: Parameters, tokens_BT: Tensor, rotary: Rotary, bias_TT: Tensor, shape: ModelShape, arithmetic: Arithmetic
) -> Tensor:
    """Token ids to the normed hidden states [B, T, D] that the head reads."""
    x_BTD = F.embedding(tokens_BT, p["embedding"])
    for layer in range(shape.num_layers):
        q, k, v = project_heads(p, layer, x_BTD, rotary, shape, arithmetic.dtype)
        x_BTD = finish_layer(p, layer, x_BTD, attend_causally(q, k, v, bias_TT), shape, arithmetic)
    return rms_norm(x_BTD, p["norm"], shape.norm_epsilon).to(arithmetic.dtype)


def sum_loss(
    p: Parameters,
    tokens_BT: Tensor,
    chunks: list[Tensor],
    rotary: Rotary,
    bias_TT: Tensor,
    shape: ModelShape,
    arithmetic: Arithmetic,
) -> tuple[Tensor, Tensor, Tensor]:
    """(objective, negative log-likelihood, hits), each summed over the targets, which come flat and in chunks."""
    hidden_BTD = run_layers(p, tokens_BT, rotary, bias_TT, shape, arithmetic)
    flat_ND = hidden_BTD.reshape(-1, shape.hidden_size)
    result: tuple[Tensor, Tensor, Tensor] = HeadCrossEntropy.apply(  # type: ignore[no-untyped-call]
        flat_ND, p["embedding"], arithmetic.label_smoothing, *chunks
    )
    return result


def attend_causally(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, bias_TT: Tensor) -> Tensor:
    """Causal attention [B, H, T, E]; each key-value head serves H/K query heads."""
    if q_BHTE.device.type != "cpu" or q_BHTE.shape[2] > LONGEST_KEPT:
        return F.scaled_dot_product_attention(
            q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=k_BKTE.shape[1] != q_BHTE.shape[1]
        )
    group = q_BHTE.shape[1] // k_BKTE.shape[1]
    if group > 1:
        k_BKTE, v_BKTE = k_BKTE.repeat_interleave(group, 1), v_BKTE.repeat_interleave(group, 1)
    attended: Tensor = KeptAttention.apply(q_BHTE, k_BKTE, v_BKTE, bias_TT)  # type: ignore[no-untyped-call]
    return attended


class KeptAttention(torch.autograd.Function):
    """Softmax attention whose probabilities are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """softmax(q kᵀ / √E + bias) v."""
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + bias
        exponents = (scores - scores.amax(-1, keepdim=True)).exp()
        probabilities = (exponents * (1.0 / exponents.sum(-1, keepdim=True))).to(q.dtype)
        out: Tensor = probabilities @ v
        ctx.save_for_backward(q, k, v, probabilities, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """With P the probabilities, dS = P ∘ (dP - rowsum(dO ∘ O))."""
        q, k, v, probabilities, out = ctx.saved_tensors
        row_sums = (gradient.float() * out.float()).sum(-1, keepdim=True)
        d_probabilities = (gradient @ v.transpose(-1, -2)).float()
        d_scores = (probabilities.float() * (d_probabilities - row_sums) * q.shape[-1] ** -0.5).to(q.dtype)
        return d_scores @ k, d_scores.transpose(-1, -2) @ q, probabilities.transpose(-1, -2) @ gradient, None


class HeadCrossEntropy(torch.autograd.Function):
    """Tied head and cross-entropy in one, a chunk of rows at a time; gradients are worked out on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, embedding_VD: Tensor, smoothing: float, *chunks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Objective (1-s)·NLL + s·mean over V of -log p (Szegedy et al. 2016), NLL and hits; targets < 0 count nowhere."""
        num_vocab = embedding_VD.shape[0]
        head_VD = embedding_VD.to(x_ND.dtype)
        # float32 columns: exact below 2**24, and cheaper to compare than 64-bit integers
        columns_V = torch.arange(num_vocab, dtype=torch.float32, device=x_ND.device)
        objectives, losses, hits, gradients_ND, gradient_VD = [], [], [], [], None
        for x, targets in zip(torch.split(x_ND, chunks[0].shape[0]), chunks, strict=True):
            counts = (targets >= 0).unsqueeze(1)
            logits = x @ head_VD.t()
            wide = logits.float()
            highest = wide.amax(1, keepdim=True)
            exponents = (wide - highest).exp()
            total = exponents.sum(1, keepdim=True)
            target_logit = logits.gather(1, targets.clamp_min(0).unsqueeze(1)).float()
            log_total = highest + total.log()
            loss = log_total - target_logit
            losses.append(torch.where(counts, loss, 0.0).sum())
            hits.append(((target_logit >= highest) & counts).sum())
            is_target = columns_V == targets.float().unsqueeze(1)
            gradient = exponents * torch.where(counts, 1.0 / total, 0.0) - torch.where(is_target, 1.0 - smoothing, 0.0)
            if smoothing:
                objective = (1 - smoothing) * loss + smoothing * (log_total - wide.mean(1, keepdim=True))
                objectives.append(torch.where(counts, objective, 0.0).sum())
                gradient = gradient - torch.where(counts, smoothing / num_vocab, 0.0)
            gradient = gradient.to(x.dtype)
            gradients_ND.append(gradient @ head_VD)
            part_VD = (gradient.t() @ x).float()
            gradient_VD = part_VD if gradient_VD is None else gradient_VD + part_VD
        hit, nll = torch.stack(hits).sum(), torch.stack(losses).sum()
        ctx.save_for_backward(torch.cat(gradients_ND), gradient_VD)
        ctx.mark_non_differentiable(nll, hit)
        ctx.num_chunks = len(chunks)
        return torch.stack(objectives).sum() if smoothing else nll.clone(), nll, hit

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _nll: Tensor, _hit: Tensor) -> tuple[Any, ...]:
        """The gradients are there; only the objective's scale is still to come."""
        gradient_ND, gradient_VD = ctx.saved_tensors
        return gradient_ND * scale.to(gradient_ND.dtype), gradient_VD * scale, None, *[None] * ctx.num_chunks


def _drop(x: Tensor, arithmetic: Arithmetic) -> Tensor:
    return F.dropout(x, arithmetic.dropout) if arithmetic.dropout else x
