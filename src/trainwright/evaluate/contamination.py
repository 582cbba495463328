"""Whether the training text holds the items that a model is judged by.

An item counts as found where NUM_WORDS words of its prompt stand together in the training text, in the order of the prompt
(Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C, uses 13); an item that is shorter, where all of its
words do. Words are compared as scorers compare answers: lower case, NFKC, without punctuation. Items of fewer than MIN_WORDS
words say nothing either way: "2 + 3" stands everywhere.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trainwright.evaluate.items import EvalItem

NUM_WORDS = 13
MIN_WORDS = 5

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    """Items that were looked for, those that were found, and the canary texts that were."""

    num_items: int
    num_too_short: int
    found: tuple[str, ...]
    canaries: tuple[str, ...]

    @property
    def share(self) -> float:
        """Found items over those that could be looked for; 0 where there are none."""
        return len(self.found) / (self.num_items - self.num_too_short) if self.num_items > self.num_too_short else 0.0


def find_overlap(items: Sequence[EvalItem], texts: Iterable[str], canaries: Sequence[str] = ()) -> Overlap:
    """Look for every item, and every canary string as it is written, in the training text. Each text is read once."""
    index = _Index()
    num_too_short = sum(not index.add(item) for item in items)
    seen: set[str] = set()
    for text in texts:
        index.search(split_words(text))
        seen.update(canary for canary in canaries if canary in text)
    return Overlap(
        num_items=len(items),
        num_too_short=num_too_short,
        found=tuple(item.id for item in items if item.id in index.found),
        canaries=tuple(canary for canary in canaries if canary in seen),
    )


def split_words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass
class _Index:
    """Sequences of words by their first MIN_WORDS, so that most places of a text cost one look."""

    sequences: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    def add(self, item: EvalItem) -> bool:
        """Take an item up; False where it is too short."""
        words = split_words(item.prompt)
        if len(words) < MIN_WORDS:
            return False
        length = min(len(words), NUM_WORDS)
        for start in range(len(words) - length + 1):
            sequence = tuple(words[start : start + length])
            self.sequences.setdefault(sequence[:MIN_WORDS], {}).setdefault(sequence, []).append(item.id)
        return True

    def search(self, words: list[str]) -> None:
        beginnings = zip(*(words[offset:] for offset in range(MIN_WORDS)), strict=False)
        for start, beginning in enumerate(beginnings):
            for sequence, ids in self.sequences.get(beginning, {}).items():
                if tuple(words[start : start + len(sequence)]) == sequence:
                    self.found.update(ids)
