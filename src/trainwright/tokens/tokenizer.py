"""Text to ids and back, for every kind of tokenizer record.

    opened = open_tokenizer(record, objects)
    opened.decode(opened.encode(text)) == text        # every text, for tokenizers trained here

Text never encodes to a special token, whatever it says: special tokens are put into a sequence by their ids.
"""

import codecs
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import InvalidEncoding, TokenizerMismatch, TokenizerUnreadable
from trainwright.core.records import SpecialTokens, Tokenizer
from trainwright.store.objects import ObjectStore
from trainwright.tokens.lines import SPACE_MARK, iter_parts


class StreamDecoder(Protocol):
    """Decodes one sequence while it is being written. The texts it returns join to `decode` of all the ids."""

    def feed(self, token_id: int) -> str:
        """The text that has become certain with this token: possibly none, never part of a character."""

    def finish(self) -> str:
        """What was held back, where the sequence ends inside a character (then as U+FFFD). Ends the stream."""


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

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens are left out, bytes that are no UTF-8 become U+FFFD.

        Raises TokenizerMismatch on an id outside the vocabulary.
        """

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one sequence, token by token."""


def open_tokenizer(record: Tokenizer, objects: ObjectStore) -> TextTokenizer:
    """The tokenizer of a record. Its files are verified against their digests before they are parsed.

    Raises TokenizerUnreadable, and ObjectMissing or ObjectDamaged from the store.
    """
    if record.algorithm == "huggingface":
        from trainwright.tokens.huggingface import HuggingFaceTokenizer

        return HuggingFaceTokenizer(objects.get(_require_file(record, "tokenizer.json")), record.special_tokens)
    opened = SentencePieceTokenizer(objects.get(_require_file(record, "tokenizer.model")), record.special_tokens)
    if opened.vocab_size != record.vocab_size:
        raise TokenizerUnreadable(
            f"The tokenizer {record.id[:12]} does not match its record.",
            why=f"Its model has {opened.vocab_size} pieces, its record says {record.vocab_size}.",
            next_step="Train the tokenizer again.",
        )
    return opened


def _require_file(record: Tokenizer, name: str) -> str:
    if name not in record.files:
        raise TokenizerUnreadable(
            f"The tokenizer {record.id[:12]} has no {name}.",
            why=f"Its record names {', '.join(sorted(record.files)) or 'no files'}.",
            next_step="Train or import the tokenizer again.",
        )
    return record.files[name]


class SentencePieceTokenizer:
    """A tokenizer trained here."""

    def __init__(self, model: bytes, special_tokens: SpecialTokens) -> None:
        from sentencepiece import SentencePieceProcessor

        self._special_tokens = special_tokens
        try:
            self._processor = SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise TokenizerUnreadable(
                "The SentencePiece model cannot be read.", why=str(error), next_step="Train the tokenizer again."
            ) from error
        self._bytes_of_id = [self._read_bytes(token_id) for token_id in range(self._processor.get_piece_size())]
        self._newline = int(self._processor.piece_to_id("\n"))
        # ▁ stands for the space inside pieces; spelled in bytes, the character itself survives.
        self._space_mark = [int(self._processor.piece_to_id(f"<0x{byte:02X}>")) for byte in SPACE_MARK.encode()]

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return len(self._bytes_of_id)

    @property
    def special_tokens(self) -> SpecialTokens:
        """Ids that stand for no text."""
        return self._special_tokens

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; see `TextTokenizer.encode`."""
        require_encodable(text)
        ids: list[int] = []
        for number, stretch in enumerate(text.split(SPACE_MARK)):
            if number:
                ids += self._space_mark
            ids += self._encode_lines(stretch.split("\n"))
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """One array a text; see `TextTokenizer.encode_many`."""
        return [np.array(self.encode(text), dtype=np.int32) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; see `TextTokenizer.decode`."""
        return b"".join(self.read_bytes(token_id) for token_id in ids).decode("utf-8", errors="replace")

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one sequence."""
        return _BytesDecoder(self)

    def read_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token stands for, which may be part of a character. None for a special token."""
        require_known(token_id, self.vocab_size)
        return self._bytes_of_id[token_id]

    def _encode_lines(self, lines: list[str]) -> list[int]:
        parts_of_lines = [list(iter_parts(line)) for line in lines]
        # One call for all lines: the cost of a call is that of a few words.
        encoded = iter(self._processor.encode([part for parts in parts_of_lines for part in parts], out_type=int))
        ids: list[int] = []
        for number, parts in enumerate(parts_of_lines):
            if number:
                ids.append(self._newline)
            for _ in parts:
                ids += next(encoded)
        return ids

    def _read_bytes(self, token_id: int) -> bytes:
        piece: str = self._processor.id_to_piece(token_id)
        if self._processor.is_control(token_id) or self._processor.is_unknown(token_id):
            return b""
        if self._processor.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(SPACE_MARK, " ").encode("utf-8")


class _BytesDecoder:
    """Holds the bytes of an unfinished character back."""

    def __init__(self, tokenizer: SentencePieceTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        return self._decoder.decode(self._tokenizer.read_bytes(token_id))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


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
