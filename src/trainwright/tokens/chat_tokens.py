"""A rendered sample as token ids, and which of them are to be learnt.

The ids are those of the whole text in one go, control tokens where the template wrote markers. The rule for the edge of
the assistant's part: where a token would reach across it, or the text before the assistant's would be other tokens if
nothing followed, **the text is divided at the edge**, and each side is tokenized on its own. A model that is asked to go on
has read the text up to that very edge and nothing else. So it reads there what it has learnt from, and the targets are the
assistant's text, no character more or less.

Text never becomes a control token. Where a tokenizer's model would make one of it (some hold control tokens among their
ordinary pieces), the text is divided inside the name.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, compress, groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import TokenizerError
from trainwright.core.pieces import Piece
from trainwright.tokens.protocol import Span, TextTokenizer

_MAX_ROUNDS = 100


@dataclass(frozen=True)
class EncodedSample:
    """A sample as tokens; all fields have one entry a token.

    `targets` is 1 where the token is to be learnt. The first token never is: nothing stands before it. `texts` join to
    the rendered text, markers that became control tokens left out; a character that several tokens spell stands with the
    first of them.
    """

    ids: NDArray[np.int32]
    targets: NDArray[np.uint8]
    texts: tuple[str, ...]

    @property
    def num_targets(self) -> int:
        """Tokens to be learnt."""
        return int(self.targets.sum())

    def count_bytes(self) -> int:
        """UTF-8 bytes of the text that the tokens stand for; control tokens stand for none."""
        return sum(len(text.encode()) for text in self.texts)

    def count_target_bytes(self) -> int:
        """The same for the tokens to be learnt alone."""
        return sum(len(text.encode()) for text in compress(self.texts, self.targets.tolist()))

    def cut(self, start: int, stop: int) -> "EncodedSample":
        """The tokens in [start, stop) as a sample of their own."""
        targets = self.targets[start:stop].copy()
        targets[:1] = 0
        return EncodedSample(self.ids[start:stop], targets, self.texts[start:stop])


def encode_pieces(tokenizer: TextTokenizer, pieces: Sequence[Piece]) -> EncodedSample:
    """Ids and targets of a rendered sample.

    A marker that the tokenizer has no control token for is plain text. Raises InvalidEncoding on a lone surrogate,
    TokenizerError where the tokenizer makes control tokens of plain text however it is divided.
    """
    controls = tokenizer.control_tokens
    parts = list(_join_parts(pieces, controls.keys()))
    ids_of_controls = frozenset(controls.values())
    for _ in range(_MAX_ROUNDS):
        written = [controls[part.text] if part.is_control else part.text for part in parts]
        spans = tokenizer.encode_parts(written)
        cuts = _find_cuts(parts, spans, ids_of_controls) or _find_other_prompts(parts, spans, written, tokenizer)
        if not cuts:
            return _assemble(parts, spans)
        parts = [piece for number, part in enumerate(parts) for piece in part.divide(cuts.get(number, set()))]
    raise TokenizerError(
        "The tokenizer makes control tokens of plain text.",
        why="Its vocabulary holds them as single characters, so the text cannot be divided to prevent it.",
        next_step="Use another tokenizer for chat.",
    )


@dataclass(frozen=True)
class _Part:
    """A control token, or text that is tokenized in one go: from `starts[n]` on it is a target or not."""

    text: str
    starts: tuple[int, ...]
    targets: tuple[bool, ...]
    is_control: bool

    def is_target(self, position: int) -> bool:
        return self.targets[bisect_right(self.starts, position) - 1]

    def divide(self, cuts: set[int]) -> "Iterator[_Part]":
        for start, stop in pairwise(sorted({0, len(self.text), *cuts})):
            inner = [at for at in self.starts if start < at < stop]
            starts = (start, *inner)
            yield _Part(
                self.text[start:stop],
                tuple(at - start for at in starts),
                tuple(self.is_target(at) for at in starts),
                self.is_control,
            )


def _join_parts(pieces: Sequence[Piece], control_names: Set[str]) -> Iterator[_Part]:
    """Control tokens, and between them the pieces of text joined."""
    for is_control, group in groupby(pieces, lambda piece: piece.is_control and piece.text in control_names):
        if is_control:
            yield from (_Part(piece.text, (0,), (piece.is_target,), True) for piece in group)
        elif texts := [piece for piece in group if piece.text]:
            starts = [0, *accumulate(len(piece.text) for piece in texts)]
            # Only where one side is to be learnt and the other is not is there an edge.
            edges = [at for at in range(len(texts)) if not at or texts[at].is_target != texts[at - 1].is_target]
            yield _Part(
                "".join(piece.text for piece in texts),
                tuple(starts[at] for at in edges),
                tuple(texts[at].is_target for at in edges),
                False,
            )


def _find_cuts(parts: Sequence[_Part], spans: Sequence[Span], ids_of_controls: Set[int]) -> dict[int, set[int]]:
    """{part: where it has to be divided}: at edges where no token begins, and inside what became a control token."""
    cuts = {number: set(part.starts[1:]) for number, part in enumerate(parts) if len(part.starts) > 1}
    crossed: dict[int, set[int]] = {}
    for token_id, number, start, stop in spans:
        edges = cuts.get(number)
        if edges:
            crossed.setdefault(number, set()).update(edge for edge in edges if start < edge < stop)
            edges.discard(start)
        if token_id in ids_of_controls and not parts[number].is_control:
            crossed.setdefault(number, set()).add(start + 1)
    found = {number: cuts.get(number, set()) | crossed.get(number, set()) for number in cuts.keys() | crossed.keys()}
    return {number: places for number, places in found.items() if places}


def _find_other_prompts(
    parts: Sequence[_Part], spans: Sequence[Span], written: Sequence[str | int], tokenizer: TextTokenizer
) -> dict[int, set[int]]:
    """{part: where the assistant begins}, where the text before that would be other tokens if nothing followed it."""
    cuts: dict[int, set[int]] = {}
    for number, part in enumerate(parts):
        for edge in (at for at in part.starts[1:] if part.is_target(at)):
            ids = [span.token_id for span in spans if span.part == number and span.start < edge]
            context = written[max(number - 1, 0) : number]
            alone = tokenizer.encode_parts([*context, part.text[:edge]])
            if ids != [span.token_id for span in alone if span.part == len(context)]:
                cuts.setdefault(number, set()).add(edge)
    return cuts


def _assemble(parts: Sequence[_Part], spans: Sequence[Span]) -> EncodedSample:
    ids = np.array([span.token_id for span in spans], dtype=np.int32)
    targets = np.array([parts[span.part].is_target(span.start) for span in spans], dtype=np.uint8)
    targets[:1] = 0
    return EncodedSample(ids, targets, tuple(_iter_texts(parts, spans)))


def _iter_texts(parts: Sequence[_Part], spans: Sequence[Span]) -> Iterator[str]:
    """Each token's text: from where the one before it ended, and for the last of a part all that is left of it."""
    shown = 0
    for span, after in pairwise([*spans, None]):
        assert span is not None  # only the last of the row is None
        part = parts[span.part]
        if part.is_control:
            yield ""
            continue
        is_last = after is None or after.part != span.part
        stop = len(part.text) if is_last else max(shown, span.stop)
        yield part.text[shown:stop]
        shown = 0 if is_last else stop
