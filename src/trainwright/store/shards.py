"""Token ids on disk: little-endian unsigned integers in objects of bounded size, read through memory maps.

A split is one long row of ids; documents follow each other in it, and `boundaries` says where each begins.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import InternalError, TokenizerMismatch
from trainwright.core.records import Shard, TokenSplit
from trainwright.store.objects import ObjectStore

TokenType = Literal["uint16", "uint32"]
_STORED: dict[TokenType, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_BOUNDARY = np.dtype("<u8")
_LARGEST_ID = 2**31 - 1  # batches are int32


class ShardWriter:
    """Collects documents of token ids and stores them as shards of at most `max_tokens` ids each.

    A document may lie across shards. The shards depend only on the ids, the type and `max_tokens`, never on how the ids
    were handed in beyond the documents' order.
    """

    def __init__(self, objects: ObjectStore, dtype: TokenType, max_tokens: int = 2**26) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; a shard holds at least one token")
        self._objects = objects
        self._dtype = dtype
        self._stored = _STORED[dtype]
        self._max_bytes = max_tokens * self._stored.itemsize
        self._pending = bytearray()
        self._shards: list[Shard] = []
        self._boundaries = [0]

    @property
    def num_tokens(self) -> int:
        """Tokens appended so far."""
        return self._boundaries[-1]

    @property
    def num_documents(self) -> int:
        """Documents appended so far."""
        return len(self._boundaries) - 1

    def append(self, ids: NDArray[Any]) -> None:
        """Add one document: a one-dimensional array of integer ids.

        Raises TokenizerMismatch where an id does not fit the type (it is never wrapped), and whatever `ObjectStore.put`
        raises.
        """
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise ValueError(f"a document is a row of integers, not {ids.dtype} of shape {ids.shape}")
        self._require_fitting(ids)
        self._pending += ids.astype(self._stored).tobytes()
        self._boundaries.append(self._boundaries[-1] + ids.size)
        while len(self._pending) >= self._max_bytes:
            self._store_shard(self._max_bytes)

    def close(self) -> tuple[tuple[Shard, ...], str]:
        """Store what is left. Returns the shards and the digest of the boundaries (uint64: starts, then the end)."""
        if self._pending:
            self._store_shard(len(self._pending))
        boundaries = np.array(self._boundaries, dtype=_BOUNDARY)
        return tuple(self._shards), self._objects.put(boundaries.tobytes())

    def _require_fitting(self, ids: NDArray[Any]) -> None:
        if not ids.size:
            return
        largest = min(int(np.iinfo(self._stored).max), _LARGEST_ID)
        for extreme in (int(ids.min()), int(ids.max())):
            if not 0 <= extreme <= largest:
                raise TokenizerMismatch(
                    f"Token id {extreme} does not fit into {self._dtype} shards (0–{largest}).",
                    why="The tokenizer gave an id beyond the vocabulary that the shards were made for.",
                    next_step="Check that the tokenizer's vocabulary size counts its added tokens too.",
                )

    def _store_shard(self, num_bytes: int) -> None:
        data = bytes(self._pending[:num_bytes])
        del self._pending[:num_bytes]
        self._shards.append(Shard(digest=self._objects.put(data), num_tokens=num_bytes // self._stored.itemsize))


class SampleWriter:
    """Shards of samples, and beside them which tokens are to be learnt."""

    def __init__(self, objects: ObjectStore, dtype: TokenType, max_tokens: int = 2**26) -> None:
        self._objects = objects
        self._shards = ShardWriter(objects, dtype, max_tokens)
        self._targets = bytearray()

    @property
    def num_samples(self) -> int:
        """Samples appended so far."""
        return self._shards.num_documents

    def append(self, ids: NDArray[Any], targets: NDArray[np.uint8]) -> None:
        """Add one sample: its ids, and for each 1 (to be learnt) or 0. Raises as `ShardWriter.append` does."""
        if targets.shape != ids.shape or (targets.size and int(targets.max()) > 1):
            raise ValueError("targets are one 0 or 1 for each id")
        self._shards.append(ids)
        self._targets += targets.astype(np.uint8).tobytes()

    def close(self, *, num_bytes: int, num_target_bytes: int, num_dropped: int, num_truncated: int) -> TokenSplit:
        """Store what is left, and describe the split."""
        shards, boundaries = self._shards.close()
        return TokenSplit(
            shards=shards,
            boundaries=boundaries,
            num_tokens=self._shards.num_tokens,
            num_documents=self._shards.num_documents,
            num_bytes=num_bytes,
            targets=self._objects.put(bytes(self._targets)),
            num_targets=self._targets.count(1),
            num_target_bytes=num_target_bytes,
            num_dropped=num_dropped,
            num_truncated=num_truncated,
        )


class TokenReader:
    """The ids of one split, memory-mapped: `read` costs what it returns, however long the split is."""

    def __init__(
        self,
        shards: list[NDArray[Any]],
        boundaries: NDArray[np.uint64],
        targets: NDArray[np.uint8] | None = None,
    ) -> None:
        self._shards = shards
        self._targets = targets
        self._ends = list(accumulate(shard.size for shard in shards))
        self.num_tokens: int = self._ends[-1] if self._ends else 0
        self.boundaries = boundaries
        """uint64 [documents + 1]: where each document begins, then the end."""

    @property
    def num_documents(self) -> int:
        """Documents in the split."""
        return len(self.boundaries) - 1

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """A fresh array of the ids in [start, stop), int32. Raises IndexError outside 0 ≤ start ≤ stop ≤ num_tokens."""
        self._require_within(start, stop)
        ids = np.empty(stop - start, dtype=np.int32)
        position = start
        shard_index = bisect_right(self._ends, start)
        while position < stop:
            shard_end = self._ends[shard_index]
            shard = self._shards[shard_index]
            end = min(stop, shard_end)
            offset = shard_end - shard.size
            ids[position - start : end - start] = shard[position - offset : end - offset]
            position, shard_index = end, shard_index + 1
        return ids

    def read_targets(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Whether each token in [start, stop) is to be learnt: all are, where the split says nothing. Raises IndexError."""
        self._require_within(start, stop)
        if self._targets is None:
            return np.ones(stop - start, dtype=np.bool_)
        return self._targets[start:stop].astype(np.bool_)

    def read_sample(self, number: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Ids and targets of one document, by its number from 0. Raises IndexError."""
        if not 0 <= number < self.num_documents:
            raise IndexError(f"there is no sample {number}; there are {self.num_documents}")
        start, stop = int(self.boundaries[number]), int(self.boundaries[number + 1])
        return self.read(start, stop), self.read_targets(start, stop)

    def _require_within(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"[{start}, {stop}) is not within the split's {self.num_tokens} tokens")


def open_split(split: TokenSplit, dtype: TokenType, objects: ObjectStore) -> TokenReader:
    """Map a split's shards. Every object is verified before it is mapped.

    Raises ObjectMissing, ObjectDamaged, and InternalError where the bytes are intact but are not what the record says.
    """
    shards = [_map_shard(shard, dtype, objects) for shard in split.shards]
    boundaries = np.frombuffer(objects.get(split.boundaries), dtype=_BOUNDARY).astype(np.uint64)
    reader = TokenReader(shards, boundaries, None if split.targets is None else _map_targets(split, objects))
    consistent = (
        reader.num_tokens == split.num_tokens
        and len(boundaries) == split.num_documents + 1
        and int(boundaries[0]) == 0
        and int(boundaries[-1]) == split.num_tokens
        and bool(np.all(boundaries[1:] >= boundaries[:-1]))
    )
    if not consistent:
        raise _inconsistent(f"its shards hold {reader.num_tokens} tokens in {len(boundaries) - 1} documents", split)
    return reader


def _map_shard(shard: Shard, dtype: TokenType, objects: ObjectStore) -> NDArray[Any]:
    path = objects.open_local(shard.digest)
    stored = _STORED[dtype]
    if path.stat().st_size != shard.num_tokens * stored.itemsize or not shard.num_tokens:
        raise InternalError(
            f"The shard {shard.digest[:12]} does not hold {shard.num_tokens} {dtype} tokens.",
            why=f"It has {path.stat().st_size} bytes, and those are the bytes it was stored with.",
            next_step="Build the token set again.",
        )
    return np.memmap(path, dtype=stored, mode="r")


def _map_targets(split: TokenSplit, objects: ObjectStore) -> NDArray[np.uint8]:
    targets = np.frombuffer(b"", dtype=np.uint8)
    if split.targets is not None and split.num_tokens:
        targets = np.memmap(objects.open_local(split.targets), dtype=np.uint8, mode="r")
    if targets.size != split.num_tokens or int(np.count_nonzero(targets)) != split.num_targets:
        raise InternalError(
            "A token split does not match its record: its targets are other ones.",
            why=f"The record says {split.num_targets} of {split.num_tokens} tokens.",
            next_step="Build the token set again.",
        )
    return targets


def _inconsistent(found: str, split: TokenSplit) -> InternalError:
    return InternalError(
        f"A token split does not match its record: {found}.",
        why=f"The record says {split.num_tokens} tokens in {split.num_documents} documents.",
        next_step="Build the token set again.",
    )
