"""Texts that are nearly the same: those that share at least four fifths of their runs of five words.

Alike means a Jaccard similarity of the two sets of five-word runs (lower case, letters and digits only) of 0.8 or more,
computed exactly on 32-bit hashes of the runs. Which pairs are worth comparing is found by MinHash: 64 values in 16
bands of 4, which brings a pair of that similarity together with probability 0.9998 (Broder 1997; Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3). No chance but these fixed numbers: the same texts in the same order
give the same answers. Memory: about 2.5 KB for each text that is kept.
"""

import re
import zlib

import numpy as np
import numpy.typing as npt

from trainwright.core.seeds import build_generator

SIMILARITY = 0.8
NUM_WORDS = 5
NUM_BANDS, NUM_ROWS = 16, 4

_WORD = re.compile(r"[^\W_]+")
_Runs = npt.NDArray[np.uint32]


class NearDuplicates:
    """The texts so far, each unlike all before it."""

    def __init__(self) -> None:
        generator = build_generator(0, "near duplicates")
        size = NUM_BANDS * NUM_ROWS
        self._factors = generator.integers(1, 2**63, size=(size, 1), dtype=np.uint64) | np.uint64(1)
        self._offsets = generator.integers(0, 2**63, size=(size, 1), dtype=np.uint64)
        self._kept: list[_Runs] = []
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(NUM_BANDS)]

    def has_like(self, text: str) -> bool:
        """Whether a text like this one came before; if not, this one is kept."""
        runs = hash_runs(text)
        keys = [row.tobytes() for row in self._sign(runs).reshape(NUM_BANDS, NUM_ROWS)]
        candidates = {found for band, key in zip(self._bands, keys, strict=True) for found in band.get(key, ())}
        if any(measure_similarity(self._kept[found], runs) >= SIMILARITY for found in sorted(candidates)):
            return True
        for band, key in zip(self._bands, keys, strict=True):
            band.setdefault(key, []).append(len(self._kept))
        self._kept.append(runs)
        return False

    def _sign(self, runs: _Runs) -> npt.NDArray[np.uint32]:
        """The least value of each hash function over the runs: equal for two texts as often as they are alike."""
        hashed = (runs.astype(np.uint64)[None, :] * self._factors + self._offsets) >> np.uint64(32)
        return np.asarray(hashed.min(axis=1), dtype=np.uint32)


def hash_runs(text: str) -> _Runs:
    """The sorted hashes of the runs of five words; of a shorter text, one hash of all of it."""
    words = _WORD.findall(text.lower()) or [text]
    count = max(1, len(words) - NUM_WORDS + 1)
    hashes = [zlib.crc32(" ".join(words[start : start + NUM_WORDS]).encode("utf-8")) for start in range(count)]
    return np.unique(np.array(hashes, dtype=np.uint32))


def measure_similarity(first: _Runs, second: _Runs) -> float:
    """Jaccard: how many runs both have, of those that either has."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
