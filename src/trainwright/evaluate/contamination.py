"""Whether the training text holds the items that a model is judged by.

An item counts as found where NUM_WORDS words of its prompt stand together in the training text, in the order of the prompt
(Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C, uses 13); an item that is shorter, where all of its
words do. One of fewer than MIN_WORDS words ("2 + 3" stands everywhere) counts where its words are a whole line of the training
text. Words are compared as scorers compare answers: lower case, NFKC, without punctuation.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trainwright.evaluate.items import EvalItem

NUM_WORDS = 13
MIN_WORDS = 5
MAX_SHORT_CHARACTERS = 200
"""A longer line is no short prompt, whatever stands between its words."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    """How many items were looked for, which were found, and which canary texts were."""

    num_items: int
    found: tuple[str, ...]
    canaries: tuple[str, ...]

    @property
    def share(self) -> float:
        """Found items over all; 0 where there are none."""
        return len(self.found) / self.num_items if self.num_items else 0.0


def find_overlap(items: Sequence[EvalItem], texts: Iterable[str], canaries: Sequence[str] = ()) -> Overlap:
    """Look for every item, and every canary string as it is written, in the training text. Each text is read once.

    Items of several evalsets may share an id: each counts by itself.
    """
    index = _Index()
    for place, item in enumerate(items):
        index.add(place, item)
    seen: set[str] = set()
    for text in texts:
        index.search(text)
        seen.update(canary for canary in canaries if canary in text)
    return Overlap(
        num_items=len(items),
        found=tuple(item.id for place, item in enumerate(items) if place in index.found),
        canaries=tuple(canary for canary in canaries if canary in seen),
    )


def split_words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass
class _Index:
    """Sequences of words by their first MIN_WORDS, so that most places of a text cost one look; and whole short prompts.

    Items go by their number.
    """

    sequences: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = field(default_factory=dict)
    short: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    found: set[int] = field(default_factory=set)

    def add(self, place: int, item: EvalItem) -> None:
        words = split_words(item.prompt)
        if len(words) < MIN_WORDS:
            self.short.setdefault(tuple(words), []).append(place)
            return
        length = min(len(words), NUM_WORDS)
        for start in range(len(words) - length + 1):
            sequence = tuple(words[start : start + length])
            self.sequences.setdefault(sequence[:MIN_WORDS], {}).setdefault(sequence, []).append(place)

    def search(self, text: str) -> None:
        words = split_words(text)
        beginnings = zip(*(words[offset:] for offset in range(MIN_WORDS)), strict=False)
        for start, beginning in enumerate(beginnings):
            for sequence, ids in self.sequences.get(beginning, {}).items():
                if tuple(words[start : start + len(sequence)]) == sequence:
                    self.found.update(ids)
        for line in text.splitlines() if self.short else ():
            if len(line) <= MAX_SHORT_CHARACTERS:
                self.found.update(self.short.get(tuple(split_words(line)), ()))
