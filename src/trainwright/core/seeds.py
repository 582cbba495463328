"""One seed per purpose, derived from the plan's seed by hashing: no draw depends on what was drawn before it."""

import hashlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed that is a pure function of (seed, path).

    `derive_seed(1337, "epoch", 3, "order")` and `derive_seed(1337, "epoch", 4, "order")` are unrelated streams.
    63 bits, because several frameworks take a signed 64-bit seed.
    """
    text = "/".join([str(seed), *(str(part) for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little") >> 1


def build_generator(seed: int, *path: str | int) -> np.random.Generator:
    """A numpy generator for (seed, path). Philox, because its stream is specified and the same on every platform."""
    return np.random.Generator(np.random.Philox(key=derive_seed(seed, *path)))
