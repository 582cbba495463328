"""Several sequences at a time, on any model: together where its backend can, and each by itself where it cannot."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import BatchDecoder, Batching, Decoder, Model


def open_batch_decoder(model: Model) -> BatchDecoder:
    """The model's own, or one that feeds its sequences one after the other."""
    return model.open_batch_decoder() if isinstance(model, Batching) else InTurn(model)


class InTurn:
    """A decoder for each sequence: right on every backend, and no faster than they are alone."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._decoders: dict[int, Decoder] = {}
        self._next = 0

    def join(self, tokens: Sequence[int]) -> tuple[int, NDArray[np.float32]]:
        """A new sequence: (its number, logits [V])."""
        decoder = self._model.open_decoder()
        logits_V = decoder.feed(tokens)
        number, self._next = self._next, self._next + 1
        self._decoders[number] = decoder
        return number, logits_V

    def feed(self, numbers: Sequence[int], tokens_N: Sequence[int]) -> NDArray[np.float32]:
        """A token for each of these; logits [N, V]."""
        decoders = [self._decoders[number] for number in numbers]
        return np.stack([decoder.feed([token]) for decoder, token in zip(decoders, tokens_N, strict=True)])

    def leave(self, number: int) -> None:
        """Forget a sequence."""
        del self._decoders[number]
