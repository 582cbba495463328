"""Where text may be cut without changing how it is tokenized: at newlines, and before spaces.

A newline is a token of its own, and no piece holds a space anywhere but at its start. So the tokens of a text are the
tokens of its parts, and a long document need not be tokenized in one go.
"""

from collections.abc import Iterator

SPACE_MARK = "\u2581"
"""What SentencePiece writes for a space inside its pieces."""

MAX_PART_CHARACTERS = 2048
"""Parts are no longer than this, where there is a space to cut at. It bounds sums of scores: see `scores.py`."""


def iter_parts(line: str) -> Iterator[str]:
    """Parts of `line` that join to it again, each cut before a space. A part without a space is cut at the maximum.

    Only that last, rare cut (2048 characters and not one space) can change how the text around it is tokenized.
    """
    start = 0
    while len(line) - start > MAX_PART_CHARACTERS:
        cut = line.rfind(" ", start + 1, start + MAX_PART_CHARACTERS)
        if cut <= start:
            cut = start + MAX_PART_CHARACTERS
        yield line[start:cut]
        start = cut
    yield line[start:]
