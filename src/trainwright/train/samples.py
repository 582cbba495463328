"""Batches of whole samples, packed into rows of T positions: a pure function of (plan, step), as `batches.py` is for streams.

    row:       sample 12 ─────────── sample 3 ──── sample 40 ─ padding
    segments:  0 0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 2 2 2 2 2 2 3 3 3 3

Packing looks at lengths alone. It is best-fit decreasing: the longest sample first, each into the fullest row that still has
room for it (Johnson 1973, "Near-optimal bin packing algorithms"). It gives places for samples of stated lengths, in a number
of rows that is the same in every epoch. Which sample of that length takes which place, and the order of the rows, are drawn
anew for each epoch from the plan's seed. So an epoch reads every sample once, and any batch can be made at any time.

A sample of n tokens fills n-1 positions: each token but the last is read, each but the first can be a target.

Shapes: B rows, T positions, R rows of an epoch, N samples, P their places (as many).
"""

from bisect import bisect_left, insort
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import IGNORED, Batch
from trainwright.core.errors import SourceTooShort
from trainwright.core.seeds import build_generator
from trainwright.train.batches import iter_ahead


class SampleReader(Protocol):
    """Samples by number: their tokens, and which of these are to be learnt."""

    @property
    def boundaries(self) -> NDArray[np.uint64]:
        """[N + 1]: where each sample begins, then the end."""

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Token ids [stop - start]."""

    def read_targets(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Whether each of these tokens is to be learnt, [stop - start]."""


@dataclass(frozen=True)
class Packing:
    """Places for samples. `rows_P` and `starts_P`: row and first position of each place; the longest sample's comes first.

    `by_length_N`: the samples, the longest first (of one length, in their own order), so that the i-th fits the i-th place.
    """

    num_rows: int
    rows_P: NDArray[np.int64]
    starts_P: NDArray[np.int64]
    by_length_N: NDArray[np.int64]


def pack_samples(lengths_N: NDArray[np.int64], seq_length: int) -> Packing:
    """Best-fit decreasing, over the positions that each sample fills.

    Raises SourceTooShort where there is no sample, ValueError where one does not fit into a row.
    """
    if not lengths_N.size:
        raise SourceTooShort(
            "The training split holds no sample.",
            why="Nothing is left to learn from.",
            next_step="Give more traces, or a smaller data.split.validation_share.",
        )
    if int(lengths_N.max()) > seq_length or int(lengths_N.min()) < 1:
        raise ValueError(f"samples fill {lengths_N.min()} to {lengths_N.max()} positions; a row has {seq_length}")
    order = np.argsort(-lengths_N, kind="stable")
    rows, starts = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    rooms: list[int] = []  # the different numbers of free positions that some open row has, ascending
    rows_with: dict[int, list[int]] = {}
    num_rows = 0
    for place, length in enumerate(lengths_N[order].tolist()):
        found = bisect_left(rooms, length)
        if found == len(rooms):
            row, room = num_rows, seq_length
            num_rows += 1
        else:
            room = rooms[found]
            row = rows_with[room].pop()
            if not rows_with[room]:
                rooms.pop(found)
        rows[place], starts[place] = row, seq_length - room
        left = room - length
        if left:
            waiting = rows_with.setdefault(left, [])
            if not waiting:
                insort(rooms, left)
            waiting.append(row)
    return Packing(num_rows, rows, starts, order)


def count_positions(reader: SampleReader) -> NDArray[np.int64]:
    """How many positions of a row each sample fills, [N]."""
    ends = reader.boundaries.astype(np.int64)
    return ends[1:] - ends[:-1] - 1


def count_rows(reader: SampleReader, seq_length: int) -> int:
    """Rows of an epoch. Raises as `pack_samples` does."""
    return pack_samples(count_positions(reader), seq_length).num_rows


class SampleBatches:
    """The batches of one run that learns from samples. An epoch is `num_windows` rows, in which every sample is read once."""

    def __init__(self, reader: SampleReader, *, seed: int, batch_size: int, accumulation: int, seq_length: int) -> None:
        self._reader = reader
        self._seed = seed
        self._batch_size = batch_size
        self._accumulation = accumulation
        self._seq_length = seq_length
        self._lengths_N = count_positions(reader)
        self._packing = pack_samples(self._lengths_N, seq_length)
        self.num_windows = self._packing.num_rows
        self._epoch: tuple[int, list[list[tuple[int, int]]]] = (-1, [])

    def micro_batches_at(self, step: int) -> tuple[Batch, ...]:
        """The global batch of `step` (0-based), split into `accumulation` micro-batches of [B / accumulation, T]."""
        first = step * self._batch_size
        batch = self._fill([self._row(first + row) for row in range(self._batch_size)])
        size = self._batch_size // self._accumulation
        return tuple(batch.rows(start, start + size) for start in range(0, self._batch_size, size))

    def iter_steps(self, start: int, stop: int) -> Generator[tuple[int, tuple[Batch, ...]], None, None]:
        """(step, micro-batches) for start … stop-1, the next one always being made while this one is used."""
        return iter_ahead(self.micro_batches_at, start, stop)

    def epoch_at(self, step: int) -> float:
        """Epochs of data seen after `step` updates."""
        return step * self._batch_size / self.num_windows

    def iter_all(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, in one fixed order and in batches of one fixed shape: what is held out is scored so."""
        rows = self._deal(self._packing.by_length_N)
        for first in range(0, len(rows), batch_size):
            part = rows[first : first + batch_size]
            yield self._fill(part + [[]] * (batch_size - len(part)))

    def _row(self, number: int) -> list[tuple[int, int]]:
        """(first position, sample) of everything in a row of the whole run."""
        epoch, position = divmod(number, self.num_windows)
        known_epoch, rows = self._epoch  # read at once: the read-ahead thread may be replacing it
        if known_epoch != epoch:
            rows = self._draw_epoch(epoch)
            self._epoch = (epoch, rows)
        return rows[position]

    def _draw_epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """The rows of an epoch in the order in which they are read."""
        tickets_N = build_generator(self._seed, "epoch", epoch, "samples").permutation(self._lengths_N.size)
        rows = self._deal(np.lexsort((tickets_N, -self._lengths_N)))
        order = build_generator(self._seed, "epoch", epoch, "rows").permutation(self.num_windows)
        return [rows[row] for row in order.tolist()]

    def _deal(self, samples_P: NDArray[np.int64]) -> list[list[tuple[int, int]]]:
        """Rows with the i-th of `samples_P` in the i-th place; each row from left to right."""
        rows: list[list[tuple[int, int]]] = [[] for _ in range(self.num_windows)]
        places = zip(self._packing.rows_P.tolist(), self._packing.starts_P.tolist(), samples_P.tolist(), strict=True)
        for row, start, sample in places:  # a row is filled from its left, so its places come in order
            rows[row].append((start, sample))
        return rows

    def _fill(self, rows: list[list[tuple[int, int]]]) -> Batch:
        """Rows of samples as one batch; what no sample fills is a last segment of zeros without a target."""
        size = (len(rows), self._seq_length)
        tokens_BT, targets_BT = np.zeros(size, np.int32), np.full(size, IGNORED, np.int32)
        segments_BT = np.zeros(size, np.int32)
        boundaries = self._reader.boundaries
        for number, row in enumerate(rows):
            filled = 0
            for segment, (start, sample) in enumerate(row):
                first, stop = int(boundaries[sample]), int(boundaries[sample + 1])
                ids, is_target = self._reader.read(first, stop), self._reader.read_targets(first, stop)
                filled = start + len(ids) - 1
                tokens_BT[number, start:filled] = ids[:-1]
                targets_BT[number, start:filled] = np.where(is_target[1:], ids[1:], IGNORED)
                segments_BT[number, start:filled] = segment
            segments_BT[number, filled:] = len(row)
        return Batch(tokens_BT, targets_BT, segments_BT)
