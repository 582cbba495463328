"""A sample as the pieces of text it is rendered to: what the template wrote, what a person wrote, what is to be learnt.

The templates (`data/`) make pieces and the tokenizers (`tokens/`) encode them, so the type belongs to neither.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Piece(NamedTuple):
    """A stretch of a rendered sample.

    `is_target`: the model is to learn to write it. `is_control`: the template wrote it as a marker, and it becomes the
    special token of that name where the tokenizer has one. Everything else is plain text, whatever it reads like: a
    person's "<end_of_turn>" stays thirteen characters.
    """

    text: str
    is_target: bool = False
    is_control: bool = False


class Sample(NamedTuple):
    """One rendered sample. `id` is that of the trace or conversation it came from."""

    id: str
    pieces: tuple[Piece, ...]


def join_pieces(pieces: Iterable[Piece]) -> str:
    """The rendered text."""
    return "".join([piece.text for piece in pieces])
