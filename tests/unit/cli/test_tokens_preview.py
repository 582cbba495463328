"""How a sample's tokens are shown: marked with signs, or with colours on a terminal."""

from types import SimpleNamespace

import numpy as np

from trainwright.cli.tokens import _colour, _mark
from trainwright.tokens.chat_tokens import EncodedSample

SHOWN = SimpleNamespace(
    encoded=EncodedSample(
        ids=np.arange(6, dtype=np.int32),
        targets=np.array([0, 0, 1, 1, 0, 1], dtype=np.uint8),
        texts=("", "a\n", " b", "\x1b[31mé", "", "[red]"),
    ),
    names=["<s>", "a", "b", "c", "<e>", "d"],
    controls=[True, False, False, False, True, False],
)


def test_tokens_are_marked_where_there_is_no_colour():
    assert _mark(SHOWN) == "<s>│a↵\n⟦ b│\\x1b[31mé⟧<e>⟦[red]⟧"


def test_tokens_are_coloured_by_mask_and_told_apart():
    text = _colour(SHOWN)
    assert text.plain == "<s>a↵\n b\\x1b[31mé<e>[red]"
    assert [str(span.style) for span in text.spans] == [
        "bright_black",
        "bright_black reverse",
        "green",
        "green reverse",
        "bright_black",
        "green reverse",
    ]
