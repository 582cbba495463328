"""How well a model predicts text it has not seen: loss, perplexity, bits per byte, next-token accuracy.

The split is cut into disjoint windows of T tokens; every token is predicted exactly once, from what stands before it in
its own window. The first token of the split is predicted from the end token, as the first token of any document is.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import IGNORED, Batch, Model


class TokenReader(Protocol):
    """Token ids by position."""

    @property
    def num_tokens(self) -> int:
        """How many there are."""

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Ids [stop - start] at positions start … stop-1."""


@dataclass(frozen=True)
class Likelihood:
    """Sums over a split, from which every metric follows. `nll_sum` is in nats."""

    nll_sum: float
    num_tokens: int
    num_correct: int
    num_bytes: int

    @property
    def val_loss(self) -> float:
        """Mean negative log-likelihood per token, nats."""
        return self.nll_sum / self.num_tokens

    @property
    def perplexity(self) -> float:
        """exp(mean negative log-likelihood per token); infinite where that overflows."""
        return math.inf if self.val_loss >= 700 else math.exp(self.val_loss)

    @property
    def bits_per_byte(self) -> float:
        """Total negative log-likelihood in bits over UTF-8 bytes: the one figure comparable across tokenizers."""
        return self.nll_sum / math.log(2) / self.num_bytes

    @property
    def accuracy(self) -> float:
        """Share of tokens that were ranked first."""
        return self.num_correct / self.num_tokens


def measure_likelihood(
    model: Model, reader: TokenReader, *, num_bytes: int, seq_length: int, batch_size: int, first_context: int
) -> Likelihood:
    """Score a whole split. `first_context` is the token id that stands before the first (the end token, or any other)."""
    windows = iter_windows(reader, seq_length=seq_length, batch_size=batch_size, first_context=first_context)
    return measure_batches(model, windows, num_bytes=num_bytes)


def measure_batches(model: Model, batches: Iterable[Batch], *, num_bytes: int) -> Likelihood:
    """Score every target of the batches, which stand for `num_bytes` bytes of text."""
    nll_sum, num_correct, num_targets = 0.0, 0, 0
    for batch in batches:
        scores = model.score(batch)
        nll_sum += float(scores.nll_BT.sum(dtype=np.float64))
        num_correct += int(np.count_nonzero(scores.correct_BT & (batch.targets_BT != IGNORED)))
        num_targets += batch.num_targets
    return Likelihood(nll_sum, num_targets, num_correct, num_bytes)


def iter_windows(reader: TokenReader, *, seq_length: int, batch_size: int, first_context: int) -> Iterator[Batch]:
    """All windows of a split in batches of one fixed shape [B, T]; what is missing in the last one is IGNORED."""
    num_windows = math.ceil(reader.num_tokens / seq_length)
    for first in range(0, num_windows, batch_size):
        tokens_BT = np.zeros((batch_size, seq_length), np.int32)
        targets_BT = np.full((batch_size, seq_length), IGNORED, np.int32)
        for row in range(min(batch_size, num_windows - first)):
            start = (first + row) * seq_length
            targets = reader.read(start, min(start + seq_length, reader.num_tokens))
            before = first_context if start == 0 else int(reader.read(start - 1, start)[0])
            tokens_BT[row, 0] = before
            tokens_BT[row, 1 : len(targets)] = targets[:-1]
            targets_BT[row, : len(targets)] = targets
        yield Batch(tokens_BT, targets_BT)
