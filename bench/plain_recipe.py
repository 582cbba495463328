"""The recipe that a first small language model is usually trained with, as the yardstick of `quality_for_time.py`.

Two post-norm encoder layers of width 128 with a causal mask and learnt positions, an untied head with a bias, windows of
128 tokens that overlap by half, AdamW at 3e-4 with a cosine over 20 epochs, batches of 32, clipping at 1: PyTorch's own
parts, none of them slow on purpose.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, INNER = 128, 4, 2, 256
WINDOW, BATCH, RATE, NUM_EPOCHS = 128, 32, 3e-4, 20


@dataclass(frozen=True)
class EpochResult:
    """After an epoch: seconds of training so far (wall, and of the processor over all threads), held-out nats per token."""

    epoch: int
    num_steps: int
    wall_s: float
    cpu_s: float
    val_loss: float


class PlainModel(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(1024, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS)
        self.head = nn.Linear(WIDTH, vocab_size)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        T = tokens_BT.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(T)
        x_BTD = self.embedding(tokens_BT) + self.positions(torch.arange(T))
        return self.head(self.encoder(x_BTD, mask=mask, is_causal=True))


def iter_epochs(
    train: NDArray[np.int32], held_out: NDArray[np.int32], vocab_size: int, num_epochs: int
) -> Iterator[EpochResult]:
    """Train, and say after every epoch where things stand. `held_out` begins with the token before the first one judged."""
    torch.manual_seed(0)
    model = PlainModel(vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=NUM_EPOCHS)
    windows = torch.from_numpy(train.astype(np.int64)).unfold(0, WINDOW + 1, WINDOW // 2)
    wall_s = cpu_s = 0.0
    num_steps = 0
    for epoch in range(1, num_epochs + 1):
        model.train()
        began = time.perf_counter(), time.process_time()
        for rows in torch.randperm(len(windows)).split(BATCH):
            _step(model, optimizer, windows[rows])
            num_steps += 1
        wall_s, cpu_s = wall_s + time.perf_counter() - began[0], cpu_s + time.process_time() - began[1]
        schedule.step()
        yield EpochResult(epoch, num_steps, wall_s, cpu_s, _measure_loss(model, held_out))


def _step(model: PlainModel, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
    loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()


@torch.no_grad()
def _measure_loss(model: PlainModel, held_out: NDArray[np.int32]) -> float:
    """Mean nats per token, every token once, in disjoint windows: as the product measures its own models."""
    model.eval()
    tokens = torch.from_numpy(held_out.astype(np.int64))
    total = 0.0
    num_targets = len(tokens) - 1
    for first in range(0, num_targets, WINDOW):
        row = tokens[first : first + WINDOW + 1]
        total += float(F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum"))
    return total / num_targets


def bits_per_byte(val_loss: float, num_tokens: int, num_bytes: int) -> float:
    """Of nats per token."""
    return val_loss * num_tokens / math.log(2) / num_bytes
