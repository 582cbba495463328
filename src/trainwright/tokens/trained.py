"""A SentencePiece tokenizer that was trained here, open for use."""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import TokenizerUnreadable
from trainwright.core.records import SpecialTokens
from trainwright.tokens.lines import SPACE_MARK, iter_parts
from trainwright.tokens.protocol import Span, StreamDecoder, require_encodable, require_known


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

    @cached_property
    def control_tokens(self) -> Mapping[str, int]:
        """{name: id}; see `TextTokenizer.control_tokens`."""
        ids = (token_id for token_id in range(self.vocab_size) if self._processor.is_control(token_id))
        return {self._processor.id_to_piece(token_id): token_id for token_id in ids}

    def encode_parts(self, parts: Sequence[str | int]) -> list[Span]:
        """Tokens with their place; see `TextTokenizer.encode_parts`."""
        spans: list[Span] = []
        for number, part in enumerate(parts):
            if isinstance(part, int):
                spans.append(Span(part, number, 0, 0))
            else:
                spans += self._locate(part, number)
        return spans

    def read_name(self, token_id: int) -> str:
        """The piece; see `TextTokenizer.read_name`."""
        require_known(token_id, self.vocab_size)
        return str(self._processor.id_to_piece(token_id))

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

    def _locate(self, text: str, part: int) -> list[Span]:
        """The tokens of `text` with their characters: they spell its bytes, none left out, so counting bytes is enough."""
        ids = self.encode(text)
        num_bytes = np.array([len(self._bytes_of_id[token_id]) for token_id in ids], dtype=np.int64)
        stops = np.cumsum(num_bytes)
        starts = stops - num_bytes
        if not text.isascii():
            character_of_byte = np.repeat(np.arange(len(text)), [len(character.encode()) for character in text])
            starts, stops = character_of_byte[starts], character_of_byte[stops - 1] + 1
        return [Span(*item) for item in zip(ids, [part] * len(ids), starts.tolist(), stops.tolist(), strict=True)]

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
