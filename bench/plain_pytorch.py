"""What a person would write with PyTorch for the same decoder: `nn.Module`s, `F.cross_entropy`, `torch.optim.AdamW`.

Kept as the yardstick of `training_speed.py`: same shape, same batch, nothing clever, nothing slow on purpose.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainwright.core.records import ModelShape


class PlainLayer(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        D, E = shape.hidden_size, shape.head_dim
        self.shape = shape
        self.norm_attention, self.norm_mlp = nn.RMSNorm(D, 1e-6), nn.RMSNorm(D, 1e-6)
        self.norm_query, self.norm_key = nn.RMSNorm(E, 1e-6), nn.RMSNorm(E, 1e-6)
        self.query = nn.Linear(D, shape.num_heads * E, bias=False)
        self.key = nn.Linear(D, shape.num_kv_heads * E, bias=False)
        self.value = nn.Linear(D, shape.num_kv_heads * E, bias=False)
        self.out = nn.Linear(shape.num_heads * E, D, bias=False)
        self.gate = nn.Linear(D, shape.intermediate_size, bias=False)
        self.up = nn.Linear(D, shape.intermediate_size, bias=False)
        self.down = nn.Linear(shape.intermediate_size, D, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, _ = x.shape
        E = self.shape.head_dim
        h = self.norm_attention(x)
        q = self.norm_query(self.query(h).view(B, T, -1, E)).transpose(1, 2)
        k = self.norm_key(self.key(h).view(B, T, -1, E)).transpose(1, 2)
        v = self.value(h).view(B, T, -1, E).transpose(1, 2)
        q, k = _rotate(q, cos, sin).to(v.dtype), _rotate(k, cos, sin).to(v.dtype)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=k.shape[1] != q.shape[1])
        x = x + self.out(a.transpose(1, 2).reshape(B, T, -1))
        h = self.norm_mlp(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class PlainDecoder(nn.Module):
    def __init__(self, shape: ModelShape, seq_length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab_size, shape.hidden_size)
        nn.init.normal_(self.embedding.weight, 0, 0.02)
        self.layers = nn.ModuleList(PlainLayer(shape) for _ in range(shape.num_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, 1e-6)
        self.head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        pairs = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.outer(torch.arange(seq_length).float(), shape.rope_theta**-pairs).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = self.embedding(tokens_BT)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets_BT.flatten())


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
