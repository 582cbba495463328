"""Where a step's time goes, and how much arithmetic it is. Nothing here is ever acted on."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from trainwright.core.records import ImportedShape, Shape

T = TypeVar("T")


def flops_per_token(shape: Shape, seq_length: int) -> int:
    """Floating-point operations that a forward and a backward pass take for one token of a window of `seq_length`.

    6 for each weight, and 12·T·H·E a layer for attention's two products, halved because a position sees only what lies
    before it (Chowdhery et al. 2022, "PaLM", appendix B). The tied embedding counts once, as the head. Of a model that was
    made elsewhere the weights alone are counted, and 4 for each where only an adapter is trained: what is not trained needs
    no gradient of its own.
    """
    if isinstance(shape, ImportedShape):
        return (6 if shape.adapter is None else 4) * shape.num_parameters
    attention = 6 * shape.num_layers * seq_length * shape.num_heads * shape.head_dim
    return 6 * shape.num_parameters + attention


BETWEEN = ("validation_s", "checkpoint_s")
"""Parts that are no part of a step: they lie between it and the next one, which tells of them."""


class Clock:
    """Seconds since the loop began, since the last lap, and of each named part of it."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._parts: dict[str, float] = {}
        self._between: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        """Since the loop began, in this process."""
        return time.perf_counter() - self._start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as a part of the step, or as one that lies between two."""
        begun = time.perf_counter()
        yield
        (self._between if name in BETWEEN else self._parts)[name] = time.perf_counter() - begun

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """The items, the wait for each counted as `data_s`."""
        iterator = iter(items)
        while True:
            with self.part("data_s"):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def lap(self) -> dict[str, float]:
        """A step ends: {step_s, elapsed_s, its parts, and what lay between it and the step before}."""
        now = time.perf_counter()
        lap = {"step_s": now - self._last, "elapsed_s": now - self._start}
        lap |= dict.fromkeys(("data_s", "compute_s", "update_s", *BETWEEN), 0.0) | self._parts | self._between
        self._between = {}
        self.begin_step()
        return lap

    def begin_step(self) -> None:
        """What was done since the last lap is no part of the next one."""
        self._last, self._parts = time.perf_counter(), {}
