"""Batches as a pure function of (plan, step): nothing to save, nothing to fast-forward on resume.

An epoch cuts the training tokens into disjoint windows of T+1 tokens that overlap by one (T inputs, T targets), from an
offset of its own in [0, T), in an order of its own. Both are drawn from the plan's seed and the epoch's number, so windows
differ between epochs and any batch can be made at any time. Batches have a fixed size; one may straddle two epochs.

Shapes: B rows, T positions.
"""

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import Batch
from trainwright.core.errors import SourceTooShort
from trainwright.core.seeds import build_generator


class TokenReader(Protocol):
    """Token ids by position; reading is cheap (memory-mapped)."""

    @property
    def num_tokens(self) -> int:
        """How many there are."""

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Ids [stop - start] at positions start … stop-1."""


def count_windows(num_tokens: int, seq_length: int) -> int:
    """Windows in an epoch: as many as fit whatever the epoch's offset is. Raises SourceTooShort where not one does."""
    if num_tokens < seq_length + 1:
        raise SourceTooShort(
            f"The training split has {num_tokens} tokens; one window needs {seq_length + 1}.",
            why="A window holds max_seq_length tokens and the one that follows them.",
            next_step="Give more text, or a smaller --max-seq-length (at least 32).",
        )
    return max(1, (num_tokens - seq_length) // seq_length)


class Batches(Protocol):
    """The batches of one run, whatever they are made of."""

    def iter_steps(self, start: int, stop: int) -> Generator[tuple[int, tuple[Batch, ...]], None, None]:
        """(step, micro-batches) for start … stop-1."""

    def epoch_at(self, step: int) -> float:
        """Epochs of data seen after `step` updates."""


def iter_ahead(
    micro_batches_at: Callable[[int], tuple[Batch, ...]], start: int, stop: int
) -> Generator[tuple[int, tuple[Batch, ...]], None, None]:
    """(step, micro-batches) for start … stop-1, the next one always being made while this one is used."""
    if start >= stop:
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        ahead: Future[tuple[Batch, ...]] = pool.submit(micro_batches_at, start)
        for step in range(start, stop):
            batches = ahead.result()
            if step + 1 < stop:
                ahead = pool.submit(micro_batches_at, step + 1)
            yield step, batches


class BatchSource:
    """The batches of one run that learns from a stream of text."""

    def __init__(self, reader: TokenReader, *, seed: int, batch_size: int, accumulation: int, seq_length: int) -> None:
        self._reader = reader
        self._seed = seed
        self._batch_size = batch_size
        self._accumulation = accumulation
        self._seq_length = seq_length
        self.num_windows = count_windows(reader.num_tokens, seq_length)
        self._epoch_starts: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def micro_batches_at(self, step: int) -> tuple[Batch, ...]:
        """The global batch of `step` (0-based), split into `accumulation` micro-batches of [B / accumulation, T]."""
        first = step * self._batch_size
        starts = [self._window_start(first + row) for row in range(self._batch_size)]
        rows = np.stack([self._reader.read(start, start + self._seq_length + 1) for start in starts])
        parts = np.split(rows, self._accumulation)
        return tuple(Batch(np.ascontiguousarray(part[:, :-1]), np.ascontiguousarray(part[:, 1:])) for part in parts)

    def iter_steps(self, start: int, stop: int) -> Generator[tuple[int, tuple[Batch, ...]], None, None]:
        """(step, micro-batches) for start … stop-1, the next one always being read while this one is used."""
        return iter_ahead(self.micro_batches_at, start, stop)

    def epoch_at(self, step: int) -> float:
        """Epochs of data seen after `step` updates."""
        return step * self._batch_size / self.num_windows

    def _window_start(self, window: int) -> int:
        epoch, position = divmod(window, self.num_windows)
        known_epoch, starts = self._epoch_starts  # read at once: the read-ahead thread may be replacing it
        if known_epoch != epoch:
            starts = self._draw_epoch(epoch)
            self._epoch_starts = (epoch, starts)
        return int(starts[position])

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        """Window starts of an epoch, in the order in which they are read."""
        num_offsets = min(self._seq_length, self._reader.num_tokens - self.num_windows * self._seq_length)
        offset = int(build_generator(self._seed, "epoch", epoch, "offset").integers(num_offsets))
        order = build_generator(self._seed, "epoch", epoch, "order").permutation(self.num_windows)
        starts: NDArray[np.int64] = offset + order.astype(np.int64) * self._seq_length
        return starts
