"""The little machine that turns templates into sentences.

    [a|b|c]   one of these, chosen anew each time; may be nested, and one may be empty
    {key}     a value that was fixed before with `let` or `cast`; {Key} is the same with a capital letter
    a(n)      "a" or "an", by the word that follows

Sentences begin with a capital letter by themselves; inside quotation marks the template's own letters stand.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Choice = TypeVar("Choice")

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])\(n\) +(\w+)")
_SOUNDS_LIKE_CONSONANT = re.compile(r"(uni|use|usu|ukulele|eu|one)", re.IGNORECASE)
_SOUNDS_LIKE_VOWEL = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(^|(?<=[^.])[.!?] +)([a-z])")
_PRONOUNS = {"she": ("her", "her", "herself"), "he": ("him", "his", "himself")}


@dataclass(frozen=True)
class Character:
    """Someone in a story. `kind` is what they are ("girl", "fox", "baker"); `he` is "he" or "she"."""

    name: str
    kind: str
    adjective: str
    he: str
    is_animal: bool = False


class Teller:
    """One story while it is being told. All chance comes from `random.random()` of the given source."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._values: dict[str, str] = {}
        self._paragraphs: list[list[str]] = [[]]

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """One of the choices, all equally likely."""
        return choices[int(self._source.random() * len(choices))]

    def pick_two(self, choices: Sequence[Choice]) -> tuple[Choice, Choice]:
        """Two different positions of the choices."""
        first = int(self._source.random() * len(choices))
        second = (first + 1 + int(self._source.random() * (len(choices) - 1))) % len(choices)
        return choices[first], choices[second]

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self._source.random() < probability

    def let(self, **values: str) -> None:
        """Fix values for the rest of the story; each may itself be a template."""
        for key, value in values.items():
            self._values[key] = self._expand(value)

    def cast(self, role: str, character: Character) -> None:
        """Make a character available: {role}, {role_kind}, {role_adjective}, {role_he}, {role_him}, {role_his} …"""
        him, his, himself = _PRONOUNS[character.he]
        self._values |= {
            role: character.name,
            f"{role}_kind": character.kind,
            f"{role}_adjective": character.adjective,
            f"{role}_he": character.he,
            f"{role}_him": him,
            f"{role}_his": his,
            f"{role}_himself": himself,
        }

    def tell(self, *templates: str) -> None:
        """Add one of the templates (one sentence or a few) to the paragraph. An empty one adds nothing."""
        text = self._expand(self.pick(templates))
        text = _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), " ".join(text.split()))
        if text:
            self._paragraphs[-1].append(text)

    def part(self) -> None:
        """Begin a new paragraph."""
        if self._paragraphs[-1]:
            self._paragraphs.append([])

    def text(self) -> str:
        """The story so far, paragraphs on lines of their own."""
        return "\n".join(" ".join(sentences) for sentences in self._paragraphs if sentences) + "\n"

    def _expand(self, template: str) -> str:
        while match := _INNERMOST.search(template):
            template = template[: match.start()] + self.pick(match[1].split("|")) + template[match.end() :]
        text = re.sub(r"\{(\w+)\}", lambda field: self._value(field[1]), template)
        return _ARTICLE.sub(_choose_article, text)

    def _value(self, key: str) -> str:
        if key in self._values:
            return self._values[key]
        value = self._values[key[0].lower() + key[1:]]
        return value[0].upper() + value[1:]


def _choose_article(match: re.Match[str]) -> str:
    """By sound, not by letter: an apple, an hour, a unicorn."""
    article, word = match[1], match[2]
    vowel = _SOUNDS_LIKE_VOWEL.match(word) and not _SOUNDS_LIKE_CONSONANT.match(word)
    return f"{article}{'n' if vowel else ''} {word}"
