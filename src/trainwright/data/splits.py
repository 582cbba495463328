"""Dividing text into training and validation before any window is cut. Pure functions: no file, no chance, no clock.

The rule is arithmetic on positions: with n = round(1 / validation_share), the n-th, 2n-th, 3n-th … block is held out.
What is counted are whole documents, or, where there are too few, blocks of consecutive lines cut inside each document.
The blocks of a document, joined, are the document, character for character.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Literal

from trainwright.core.errors import SourceTooShort
from trainwright.core.manifest import SplitSection

MIN_DOCUMENTS = 10
"""`by: auto` divides by documents from this many on."""

Line = tuple[int, str]
"""(number of the document, one line of it with its newline); see `reading.py`."""

_WORD = re.compile(r"\s*\S+\s*|\s+")


@dataclass
class Survey:
    """How much text there is: what the choice of a rule depends on."""

    num_documents: int = 0
    num_lines: int = 0
    num_characters: int = 0
    _last_document: int | None = field(default=None, repr=False)

    def add(self, line: Line) -> None:
        """Count one line; lines of one document come one after the other."""
        number, text = line
        self.num_documents += int(number != self._last_document)
        self._last_document = number
        self.num_lines += 1
        self.num_characters += len(text)


@dataclass(frozen=True)
class SplitRule:
    """A rule with nothing left open. `size` is in lines or characters, and 0 where whole documents are counted."""

    by: Literal["document", "lines", "characters"]
    every: int
    size: int = 0

    def is_held_out(self, index: int) -> bool:
        """True where the block at `index` (from 0) goes to validation."""
        return index % self.every == self.every - 1

    def as_document(self) -> dict[str, str | int]:
        """The rule for a recipe."""
        named_size = {
            "document": {},
            "lines": {"block_lines": self.size},
            "characters": {"block_characters": self.size},
        }
        return {
            "by": "document" if self.by == "document" else "block",
            "validation_every": self.every,
            **named_size[self.by],
        }


def choose_rule(survey: Survey, section: SplitSection) -> SplitRule:
    """The rule that `section` means for a text of this size.

    Blocks are `block_lines` long where that gives at least n full ones, else as many lines as give n full
    blocks; and where there are fewer than n lines, about 1/n of the characters, to be cut at white space. Raises
    SourceTooShort where documents were asked for and there are fewer than n.
    """
    every = round(1 / section.validation_share)
    by_document = section.by == "document" or (
        section.by == "auto" and survey.num_documents >= max(MIN_DOCUMENTS, every)
    )
    if by_document:
        _require_documents(survey, section, every)
        return SplitRule(by="document", every=every)
    block_lines = min(section.block_lines, survey.num_lines // every)
    if block_lines >= 1:
        return SplitRule(by="lines", every=every, size=block_lines)
    return SplitRule(by="characters", every=every, size=max(1, survey.num_characters // every))


def _require_documents(survey: Survey, section: SplitSection, every: int) -> None:
    if survey.num_documents < every:
        raise SourceTooShort(
            f"The corpus has {survey.num_documents} document(s), too few to hold out one in {every}.",
            why=f"data.split.by is document and data.split.validation_share is {section.validation_share:g}.",
            next_step="Set data.split.by=block, raise data.split.validation_share, or set data.validation=FILE",
        )


def shrink_to_fit(rule: SplitRule, documents: Iterable[str]) -> SplitRule:
    """For a rule by characters: the same rule with blocks small enough that at least one is held out.

    Raises SourceTooShort where the text has fewer words than that needs.
    """
    texts = list(documents)
    size = rule.size
    while sum(1 for text in texts for _ in _cut_characters(text, size)) < rule.every:
        if size == 1:
            raise SourceTooShort(
                f"The corpus has too few words to hold out one block in {rule.every}.",
                why=f"It has {sum(map(len, texts))} characters in {len(texts)} document(s).",
                next_step="Give more text, or name a file to validate on: data.validation=FILE",
            )
        size //= 2
    return SplitRule(by=rule.by, every=rule.every, size=size)


def iter_documents(lines: Iterable[Line]) -> Iterator[str]:
    """Whole documents from their lines."""
    for _, group in groupby(lines, key=lambda line: line[0]):
        yield "".join(text for _, text in group)


def iter_blocks(lines: Iterable[Line], rule: SplitRule) -> Iterator[str]:
    """The blocks that `rule` counts, in order. Each document's blocks, joined, are the document."""
    if rule.by == "document":
        yield from iter_documents(lines)
    elif rule.by == "characters":
        for text in iter_documents(lines):
            yield from _cut_characters(text, rule.size)
    else:
        for _, group in groupby(lines, key=lambda line: line[0]):
            while block := "".join(text for _, text in islice(group, rule.size)):
                yield block


def _cut_characters(text: str, size: int) -> Iterator[str]:
    """Runs of whole words, white space kept, each of at least `size` characters but the last."""
    words: list[str] = []
    length = 0
    for match in _WORD.finditer(text):
        words.append(match.group())
        length += len(words[-1])
        if length >= size:
            yield "".join(words)
            words, length = [], 0
    if words:
        yield "".join(words)
