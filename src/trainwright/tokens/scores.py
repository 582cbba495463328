"""Scores of a unigram model, rounded so that every implementation agrees on the best segmentation.

A unigram tokenizer takes the segmentation with the largest sum of scores. SentencePiece adds in float32, the
`tokenizers` library in float64: where two segmentations are nearly equal, rounding decides, and the two give different
ids. With scores that are multiples of 1/256, sums below 65,536 are exact in both (24 bits of mantissa), so both see the
same winner and the same ties, which both break in the same way. The rounding itself, at most 1/512 nat, is far below
what the scores are good for. (Byte-pair scores are whole numbers already, and stay as they are.)

The model file is a protocol buffer; only the four bytes of each score are changed in place.
Source of the layout: sentencepiece_model.proto (ModelProto.pieces = 1; SentencePiece.score = 2).
"""

import struct
from collections.abc import Iterator

from trainwright.core.errors import TokenizerUnreadable

SCORE_STEPS_PER_UNIT = 256

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_PIECES_FIELD = 1
_SCORE_FIELD = 2


def round_scores(model: bytes) -> bytes:
    """The model with each piece's score rounded to a multiple of 1/256. Raises TokenizerUnreadable."""
    rounded = bytearray(model)
    try:
        for field, wire_type, start, end in _iter_fields(model, 0, len(model)):
            if (field, wire_type) != (_PIECES_FIELD, _LENGTH):
                continue
            for inner, inner_type, at, _ in _iter_fields(model, start, end):
                if (inner, inner_type) == (_SCORE_FIELD, _FIXED32):
                    (score,) = struct.unpack_from("<f", model, at)
                    # Adding 0.0 turns -0.0 into 0.0.
                    struct.pack_into(
                        "<f", rounded, at, round(score * SCORE_STEPS_PER_UNIT) / SCORE_STEPS_PER_UNIT + 0.0
                    )
    except (IndexError, ValueError, struct.error) as error:
        raise TokenizerUnreadable(
            "The SentencePiece model cannot be read.",
            why=f"It is not a well-formed model file ({error}).",
            next_step="Train the tokenizer again.",
        ) from error
    return bytes(rounded)


def _iter_fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start and end of the value) of each field of the message in data[start:end]."""
    position = start
    while position < end:
        key, position = _read_varint(data, position)
        wire_type = key & 7
        if wire_type == _VARINT:
            value_end = _read_varint(data, position)[1]
        elif wire_type == _LENGTH:
            length, position = _read_varint(data, position)
            value_end = position + length
        elif wire_type in (_FIXED32, _FIXED64):
            value_end = position + (4 if wire_type == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if value_end > end:
            raise ValueError(f"it ends early, at byte {end}")
        yield key >> 3, wire_type, position, value_end
        position = value_end


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
