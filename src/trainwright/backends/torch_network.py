"""The decoder in PyTorch: one forward pass, shaped for speed on a CPU, and the same on an accelerator.

Three things make it fast, and none changes what is computed: queries, keys and values are one product, as are gate and up;
the head and its cross-entropy are one function that goes through the rows in chunks and has its gradients ready when the
loss is, so that the logits of a whole batch never exist; attention keeps its probabilities, whose backward pass is cheaper
at these lengths than recomputing them.

What can be compiled is compiled by region (`Regions`): one layer, the last norm, one chunk of the head. Every layer and every
chunk then runs the same kernels, and compiling takes half the time that it takes for the whole model.

Shapes: B rows, T positions, D hidden, H query heads, K key-value heads, E head dimension, I intermediate, V vocabulary,
N = B·T positions of a chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class LayerWeights(NamedTuple):
    """The packed weights of one layer, as the forward pass takes them."""

    norm_attention: Tensor
    qkv: Tensor
    norm_query: Tensor
    norm_key: Tensor
    out: Tensor
    norm_mlp: Tensor
    gate_up: Tensor
    down: Tensor


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
    """cos and sin [T, E] of rotary positions (Su et al. 2021, arXiv:2104.09864, in the half-split layout).

    [B, 1, T, E] where the rows of a batch count their positions differently.
    """

    cos_TE: Tensor
    sin_TE: Tensor

    @classmethod
    def build(cls, shape: ModelShape, num_positions: int, device: str, first: int = 0) -> "Rotary":
        """Angles of the positions first … first + num_positions - 1, worked out in float64."""
        return cls.build_at(shape, range(first, first + num_positions), device)

    @classmethod
    def build_at(cls, shape: ModelShape, places_T: Sequence[int], device: str) -> "Rotary":
        """Angles of these positions."""
        pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        angles_TE = torch.outer(torch.tensor(places_T, dtype=torch.float64), shape.rope_theta**-pairs).repeat(1, 2)
        return cls(angles_TE.cos().float().to(device), angles_TE.sin().float().to(device))

    def at(self, places_BT: Tensor) -> "Rotary":
        """The same for rows whose positions are `places_BT`."""
        return Rotary(self.cos_TE[places_BT].unsqueeze(1), self.sin_TE[places_BT].unsqueeze(1))

    def turn(self, x_BHTE: Tensor) -> Tensor:
        """Rotate queries or keys."""
        left, right = x_BHTE.chunk(2, -1)
        return x_BHTE * self.cos_TE + torch.cat((-right, left), -1) * self.sin_TE


def causal_bias(num_positions: int, device: str) -> Tensor:
    """[T, T]: 0 where a position may look, -inf where it may not."""
    return torch.full((num_positions, num_positions), float("-inf"), device=device).triu(1)


def segment_bias(bias_TT: Tensor, segments_BT: Tensor) -> Tensor:
    """[B, 1, T, T]: a causal bias with -inf where the key belongs to another segment than the query, too."""
    elsewhere_BTT = segments_BT.unsqueeze(2) != segments_BT.unsqueeze(1)
    return bias_TT.masked_fill(elsewhere_BTT, float("-inf")).unsqueeze(1)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm in float32 (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def layer_weights(p: Parameters, layer: int) -> LayerWeights:
    """The packed weights of one layer."""
    return LayerWeights(*(p[f"{layer}.{name}"] for name in LayerWeights._fields))


def project_heads(
    w: LayerWeights, x_BTD: Tensor, rotary: Rotary, shape: ModelShape, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, H, T, E], keys and values [B, K, T, E], normed per head and turned."""
    B, T, _ = x_BTD.shape
    E = shape.head_dim
    sizes = [shape.num_heads * E, shape.num_kv_heads * E, shape.num_kv_heads * E]
    normed = rms_norm(x_BTD, w.norm_attention, shape.norm_epsilon).to(dtype)
    q, k, v = torch.split(normed @ w.qkv.to(dtype).t(), sizes, -1)
    q_BHTE = rms_norm(q.view(B, T, -1, E).transpose(1, 2), w.norm_query, shape.norm_epsilon)
    k_BKTE = rms_norm(k.view(B, T, -1, E).transpose(1, 2), w.norm_key, shape.norm_epsilon)
    return rotary.turn(q_BHTE).to(dtype), rotary.turn(k_BKTE).to(dtype), v.view(B, T, -1, E).transpose(1, 2)


def draw_chances(x_BTD: Tensor) -> Tensor:
    """Uniform 16-bit integers [2, B, T, D], by which dropout falls on the two branches of a layer.

    They are drawn outside of what is compiled, where a random number costs several times as much, and four at a time.
    """
    count = 2 * x_BTD.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64, device=x_BTD.device).random_(-(2**63), None)
    return drawn.view(torch.int16)[:count].view(2, *x_BTD.shape)


def drop(branch_BTD: Tensor, chances_BTD: Tensor | None, dropout: float) -> Tensor:
    """Zero with probability `dropout`, the rest scaled up by 1/(1-p) (Srivastava et al. 2014, JMLR 15:1929).

    p is `dropout` to the nearest 1/65,536. Without chances nothing is dropped.
    """
    if chances_BTD is None:
        return branch_BTD
    num_dropped = min(round(dropout * 65_536), 65_535)
    return torch.where(chances_BTD >= num_dropped - 32_768, branch_BTD * (65_536 / (65_536 - num_dropped)), 0.0)


def finish_layer(
    w: LayerWeights,
    x_BTD: Tensor,
    attended_BHTE: Tensor,
    shape: ModelShape,
    dtype: torch.dtype,
    chances: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The rest of a layer: output projection, residual, SwiGLU (Shazeer 2020, arXiv:2002.05202), residual."""
    B, T, _ = x_BTD.shape
    attended = attended_BHTE.transpose(1, 2).reshape(B, T, -1)
    of_attention, of_mlp = (None, None) if chances is None else chances.unbind()
    x_BTD = x_BTD + drop((attended @ w.out.to(dtype).t()).float(), of_attention, dropout)
    normed = rms_norm(x_BTD, w.norm_mlp, shape.norm_epsilon).to(dtype)
    gate, up = (normed @ w.gate_up.to(dtype).t()).chunk(2, -1)
    inner = (F.silu(gate.float()) * up.float()).to(dtype)
    return x_BTD + drop((inner @ w.down.to(dtype).t()).float(), of_mlp, dropout)


def run_layer(
    w: LayerWeights,
    x_BTD: Tensor,
    rotary: Rotary,
    bias: Tensor,
    shape: ModelShape,
    arithmetic: Arithmetic,
    chances: Tensor | None,
) -> Tensor:
    """One decoder layer."""
    q, k, v = project_heads(w, x_BTD, rotary, shape, arithmetic.dtype)
    attended = attend_causally(q, k, v, bias)
    return finish_layer(w, x_BTD, attended, shape, arithmetic.dtype, chances, arithmetic.dropout)


def run_chunk(logits_NV: Tensor, targets_N: Tensor, smoothing: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a chunk's logits: the objective's gradient [N, V], and objective, negative log-likelihood and hits, summed.

    Objective (1-s)·NLL + s·mean over V of -log p (Szegedy et al. 2016, arXiv:1512.00567). Targets < 0 count nowhere.
    """
    num_vocab = logits_NV.shape[1]
    counts = (targets_N >= 0).unsqueeze(1)
    # float32 columns: exact below 2**24, and cheaper to compare than 64-bit integers
    columns_V = torch.arange(num_vocab, dtype=torch.float32, device=logits_NV.device)
    wide = logits_NV.float()
    highest = wide.amax(1, keepdim=True)
    exponents = (wide - highest).exp()
    total = exponents.sum(1, keepdim=True)
    target_logit = logits_NV.gather(1, targets_N.clamp_min(0).unsqueeze(1)).float()
    log_total = highest + total.log()
    loss = log_total - target_logit
    is_target = columns_V == targets_N.float().unsqueeze(1)
    gradient = exponents * torch.where(counts, 1.0 / total, 0.0) - torch.where(is_target, 1.0 - smoothing, 0.0)
    objective = loss
    if smoothing:
        objective = (1 - smoothing) * loss + smoothing * (log_total - wide.mean(1, keepdim=True))
        gradient = gradient - torch.where(counts, smoothing / num_vocab, 0.0)
    hits = ((target_logit >= highest) & counts).sum()
    objective_sum, loss_sum = torch.where(counts, objective, 0.0).sum(), torch.where(counts, loss, 0.0).sum()
    return gradient.to(logits_NV.dtype), objective_sum, loss_sum, hits


def score_chunk(logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Of a chunk's logits: negative log-likelihood [N] (0 where a target does not count), and whether it ranked first."""
    counts = targets_N >= 0
    wide = logits_NV.float()
    loss = wide.logsumexp(1) - wide.gather(1, targets_N.clamp_min(0).unsqueeze(1)).squeeze(1)
    return torch.where(counts, loss, 0.0), (logits_NV.argmax(1) == targets_N) & counts


def add_widened(total: Tensor, part: Tensor) -> None:
    """total += part, in the width of `total`."""
    total.add_(part.to(total.dtype))


@dataclass(frozen=True)
class Regions:
    """The parts of the forward pass that may be compiled, each for itself."""

    layer: Callable[..., Tensor] = run_layer
    norm: Callable[..., Tensor] = rms_norm
    chunk: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = run_chunk
    add: Callable[[Tensor, Tensor], None] = add_widened
    score: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = score_chunk

    @classmethod
    def compiled(cls) -> "Regions":
        """The same, compiled for the shapes they are called with."""

        def compile_for(part: Any) -> Any:
            return torch.compile(part, dynamic=False, fullgraph=True)

        return cls(*(compile_for(part) for part in (run_layer, rms_norm, run_chunk, add_widened, score_chunk)))


PLAIN = Regions()


def run_layers(
    p: Parameters,
    tokens_BT: Tensor,
    rotary: Rotary,
    bias: Tensor,
    shape: ModelShape,
    arithmetic: Arithmetic,
    regions: Regions = PLAIN,
) -> Tensor:
    """Token ids to the normed hidden states [B·T, D] that the head reads."""
    x_BTD = F.embedding(tokens_BT, p["embedding"])
    for layer in range(shape.num_layers):
        chances = draw_chances(x_BTD) if arithmetic.dropout else None
        x_BTD = regions.layer(layer_weights(p, layer), x_BTD, rotary, bias, shape, arithmetic, chances)
    normed = regions.norm(x_BTD, p["norm"], shape.norm_epsilon).to(arithmetic.dtype)
    return normed.reshape(-1, shape.hidden_size)


def attend_causally(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, bias: Tensor) -> Tensor:
    """Causal attention [B, H, T, E]; each key-value head serves H/K query heads.

    `bias` is that of `causal_bias` [T, T], or that of `segment_bias` [B, 1, T, T].
    """
    if q_BHTE.device.type != "cpu" or q_BHTE.shape[2] > LONGEST_KEPT:
        is_plain = bias.dim() == 2
        return F.scaled_dot_product_attention(
            q_BHTE,
            k_BKTE,
            v_BKTE,
            attn_mask=None if is_plain else bias.to(q_BHTE.dtype),
            is_causal=is_plain,
            enable_gqa=k_BKTE.shape[1] != q_BHTE.shape[1],
        )
    group = q_BHTE.shape[1] // k_BKTE.shape[1]
    if group > 1:
        k_BKTE, v_BKTE = k_BKTE.repeat_interleave(group, 1), v_BKTE.repeat_interleave(group, 1)
    attended: Tensor = KeptAttention.apply(q_BHTE, k_BKTE, v_BKTE, bias)  # type: ignore[no-untyped-call]
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
        ctx: Any, x_ND: Tensor, embedding_VD: Tensor, targets_N: Tensor, smoothing: float, regions: Regions
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Objective, negative log-likelihood and hits, each summed over the targets (see `run_chunk`)."""
        head_VD = embedding_VD.to(x_ND.dtype)
        gradient_ND, gradient_VD = torch.empty_like(x_ND), torch.zeros_like(embedding_VD)
        sums = []
        chunks = zip(
            torch.split(x_ND, CHUNK_ROWS),
            torch.split(targets_N, CHUNK_ROWS),
            torch.split(gradient_ND, CHUNK_ROWS),
            strict=True,
        )
        for x, targets, gradient_x in chunks:
            # A copy of the targets, so that every chunk looks alike to the compiler whatever its offset.
            gradient_logits, *chunk_sums = regions.chunk(x @ head_VD.t(), targets.clone(), smoothing)
            torch.mm(gradient_logits, head_VD, out=gradient_x)
            regions.add(gradient_VD, gradient_logits.t() @ x)
            sums.append(chunk_sums)
        ctx.save_for_backward(gradient_ND, gradient_VD)
        objective, nll, hits = (torch.stack(column).sum() for column in zip(*sums, strict=True))
        ctx.mark_non_differentiable(nll, hits)
        return objective, nll, hits

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _nll: Tensor, _hits: Tensor) -> tuple[Any, ...]:
        """The gradients are there; only the objective's scale is still to come."""
        gradient_ND, gradient_VD = ctx.saved_tensors
        return gradient_ND * scale.to(gradient_ND.dtype), gradient_VD.mul_(scale), None, None, None
