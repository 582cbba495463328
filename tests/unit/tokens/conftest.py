"""A small corpus with everything that makes tokenizers stumble, and tokenizers trained on it once a session."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from trainwright.core.manifest import TokenizerSection
from trainwright.core.records import DatasetVersion, SplitContent, Tokenizer
from trainwright.store.objects import MemoryObjects
from trainwright.tokens.protocol import TextTokenizer
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
VERBS = ["walked", "jumped", "looked", "whispered", "remembered", "carried", "followed", "discovered"]


def write_corpus(num_documents: int = 40) -> list[str]:
    """Documents of several lines: sentences, markup with digits, runs of one letter, accents, blank lines."""
    rng = random.Random(7)
    nouns = ["river", *("".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(300))]
    documents = []
    for number in range(num_documents):
        lines = []
        for _ in range(20):
            here, there = rng.choices(nouns, k=2)
            lines.append(f"The {here} {rng.choice(VERBS)} to the {there} in {rng.randint(1, 2000)}.")
        lines += [f"<span>{rng.choice(nouns)}</span></s>", f"  café {'a' * rng.randint(1, 12)}", "", "el niño—mañana"]
        documents.append("\n".join(lines) + f"\nEnd of {number}.\n")
    return documents


def describe(splits: dict[str, list[str]]) -> DatasetVersion:
    """The dataset version of these documents."""
    return DatasetVersion(
        source="test",
        files=(),
        recipe={},
        splits={
            name: SplitContent(
                documents="0" * 64,
                num_documents=len(texts),
                num_characters=sum(map(len, texts)),
                num_bytes=sum(len(text.encode()) for text in texts),
            )
            for name, texts in splits.items()
        },
    )


@dataclass(frozen=True)
class Trained:
    """A tokenizer, opened, with the store that its files are in."""

    record: Tokenizer
    opened: TextTokenizer
    objects: MemoryObjects


def train(texts: list[str], **section: object) -> Trained:
    """Train on `texts` with the section's defaults but for what is given."""
    objects = MemoryObjects()
    parsed = TokenizerSection.model_validate(section)
    record = train_tokenizer(parsed, describe({"train": texts}), lambda: iter(texts), objects)
    return Trained(record, open_tokenizer(record, objects), objects)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return write_corpus()


@pytest.fixture(scope="session")
def train_on() -> Callable[..., Trained]:
    return train


@pytest.fixture(scope="session")
def describe_splits() -> Callable[[dict[str, list[str]]], DatasetVersion]:
    return describe


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def trained(request: pytest.FixtureRequest, corpus: list[str]) -> Iterator[Trained]:
    return train(corpus, algorithm=request.param, vocab_size=500)
