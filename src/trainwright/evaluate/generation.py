"""Writing text, one token at a time. The draw is numpy's, from a seed, so it is the same whichever framework scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import Model
from trainwright.core.seeds import build_generator


@dataclass(frozen=True)
class Decoding:
    """How the next token is drawn. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 cut nothing off.

    `top_p` keeps the fewest likeliest tokens whose mass reaches it; the likeliest is always among them.
    """

    max_tokens: int = 200
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0


class Drawing:
    """The tokens of one text, drawn one after the other: each from the logits after the one before it."""

    def __init__(self, decoding: Decoding, end: int | None) -> None:
        self._decoding, self._end = decoding, end
        self._generator = build_generator(decoding.seed, "generate")
        self._num_drawn = 0

    @property
    def is_full(self) -> bool:
        """Whether the text is as long as it may be."""
        return self._num_drawn >= self._decoding.max_tokens

    def draw(self, logits_V: NDArray[np.float32]) -> int | None:
        """The next id; None where it is the end token, which is not part of the text."""
        token = draw_token(logits_V, self._decoding, self._generator)
        if token == self._end:
            return None
        self._num_drawn += 1
        return token


def iter_generated(model: Model, prompt: Sequence[int], decoding: Decoding, end: int | None) -> Iterator[int]:
    """Token ids after `prompt` (at least one id), until the end token, which is not yielded, or `max_tokens`."""
    decoder, drawing = model.open_decoder(), Drawing(decoding, end)
    tokens = prompt
    while not drawing.is_full:
        token = drawing.draw(decoder.feed(tokens))
        if token is None:
            return
        yield token
        tokens = [token]


def draw_token(logits_V: NDArray[np.float32], decoding: Decoding, generator: np.random.Generator) -> int:
    """One id from logits [V]: temperature, then top-k, then nucleus (Holtzman et al. 2020, arXiv:1904.09751)."""
    if decoding.temperature == 0:
        return int(np.argmax(logits_V))
    scaled = logits_V.astype(np.float64) / decoding.temperature
    order = np.argsort(-scaled, kind="stable")
    probabilities = np.exp(scaled[order] - scaled[order[0]])
    if decoding.top_k:
        probabilities[decoding.top_k :] = 0.0
    probabilities /= probabilities.sum()
    if decoding.top_p < 1.0:
        mass_before = np.cumsum(probabilities) - probabilities
        mass_before[0] = -1.0  # or a top_p of 0 would leave nothing to draw
        probabilities[mass_before >= decoding.top_p] = 0.0
    cumulative = np.cumsum(probabilities)
    drawn = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
    # Rounding may put the draw one past the last token that has any mass.
    return int(order[min(drawn, int(np.count_nonzero(probabilities)) - 1)])
