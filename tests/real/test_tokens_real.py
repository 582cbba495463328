"""Tokenizers trained on real books and plays. TRAINWRIGHT_DATA names the folder that holds them."""

import os
from pathlib import Path

import pytest
import tokenizers
from sentencepiece import SentencePieceProcessor

from trainwright.core.manifest import TokenizerSection
from trainwright.core.records import DatasetVersion, SplitContent
from trainwright.store.objects import MemoryObjects
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer

CORPORA = ["tinyshakespeare/input.txt", "gutenberg/corpus_bilingual.txt"]


def read_blocks(name: str) -> list[str]:
    """The corpus in blocks of 500 lines."""
    folder = os.environ.get("TRAINWRIGHT_DATA")
    if not folder:
        pytest.skip("TRAINWRIGHT_DATA is not set: it names the folder with the real corpora")
    path = Path(folder) / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return ["".join(lines[start : start + 500]) for start in range(0, len(lines), 500)]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("corpus", CORPORA)
def test_both_formats_agree_on_real_text_and_give_it_back(corpus, algorithm):
    blocks = read_blocks(corpus)
    content = SplitContent(
        documents="0" * 64,
        num_documents=len(blocks),
        num_characters=sum(map(len, blocks)),
        num_bytes=sum(len(block.encode()) for block in blocks),
    )
    dataset, objects = DatasetVersion(source=corpus, files=(), recipe={}, splits={"train": content}), MemoryObjects()
    section = TokenizerSection(algorithm=algorithm, vocab_size=8000)
    record = train_tokenizer(section, dataset, lambda: iter(blocks), objects)
    assert record.vocab_size == 8000

    opened = open_tokenizer(record, objects)
    encoded = [ids.tolist() for ids in opened.encode_many(blocks)]
    assert [opened.decode(ids) for ids in encoded] == blocks
    assert sum(map(len, encoded)) < content.num_bytes / 2.5  # a vocabulary that learned nothing would be near 1

    converted = tokenizers.Tokenizer.from_buffer(objects.get(record.files["tokenizer.json"]))
    assert [encoding.ids for encoding in converted.encode_batch(blocks)] == encoded
    processor = SentencePieceProcessor(model_proto=objects.get(record.files["tokenizer.model"]))
    lines = "".join(blocks).split("\n")
    assert [encoding.ids for encoding in converted.encode_batch(lines)] == processor.encode(lines)
