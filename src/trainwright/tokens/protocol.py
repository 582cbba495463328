"""What a tokenizer must do once it is open, and what it must refuse."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import InvalidEncoding, TokenizerMismatch
from trainwright.core.records import SpecialTokens


class StreamDecoder(Protocol):
    """Decodes one sequence while it is being written. The texts it returns join to `decode` of all the ids."""

    def feed(self, token_id: int) -> str:
        """The text that has become certain with this token: possibly none, never part of a character."""

    def finish(self) -> str:
        """What was held back, where the sequence ends inside a character (then as U+FFFD). Ends the stream."""


class Span(NamedTuple):
    """A token and the characters [start, stop) of its part that it stands for; several tokens may spell one character."""

    token_id: int
    part: int
    start: int
    stop: int


class TextTokenizer(Protocol):
    """A tokenizer that is ready to be used. Safe to be called again and again; nothing in it changes."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    @property
    def special_tokens(self) -> SpecialTokens:
        """The ids that stand for no text."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, no special token among them. Raises InvalidEncoding on a lone surrogate."""

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """For each text what `encode` gives, as an array; faster than one at a time."""

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """{name: id} of the tokens that steer a model and stand for no text: turn markers, begin, end, padding."""

    def encode_parts(self, parts: Sequence[str | int]) -> list[Span]:
        """Text with control tokens (by id) between it, in one go: as the tokenizer reads the text they are written in.

        No token reaches across from one part to the next. Raises InvalidEncoding on a lone surrogate.
        """

    def read_name(self, token_id: int) -> str:
        """What the tokenizer itself calls a token. Raises TokenizerMismatch on an id outside the vocabulary."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens are left out, bytes that are no UTF-8 become U+FFFD.

        Raises TokenizerMismatch on an id outside the vocabulary.
        """

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one sequence, token by token."""


def require_encodable(text: str) -> None:
    """Raise InvalidEncoding where `text` holds a lone surrogate, which is no character and has no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidEncoding(
            f"The text holds half a character (a lone surrogate) at position {error.start}.",
            why="It was probably cut inside an escape sequence, or typed on a terminal that is not UTF-8.",
            next_step="Give the text as UTF-8.",
        ) from error


def require_known(token_id: int, vocab_size: int) -> None:
    """Raise TokenizerMismatch where an id is not in the vocabulary."""
    if not 0 <= token_id < vocab_size:
        raise TokenizerMismatch(
            f"Token id {token_id} is not in this tokenizer's vocabulary (0–{vocab_size - 1}).",
            why="The ids, or the model that wrote them, belong to another tokenizer.",
            next_step="Open the tokenizer that the tokens were made with: trainwright lineage REF",
        )
