"""Real corpora, read from the folder that TRAINWRIGHT_DATA names."""

import os
from pathlib import Path

import pytest

from trainwright.core.manifest import DataSection
from trainwright.data.dataset import build_dataset, read_documents
from trainwright.data.sources import locate_source
from trainwright.store.objects import MemoryObjects

FOLDER = os.environ.get("TRAINWRIGHT_DATA")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="TRAINWRIGHT_DATA names no folder of real data")


def build(tmp_path, corpus, **settings):
    section = DataSection(corpus=str(Path(FOLDER or "", corpus)), **settings)
    objects = MemoryObjects()
    located = locate_source(section, downloads=tmp_path, on_progress=lambda *_: None)
    return build_dataset(located, section, objects, on_progress=lambda *_: None), objects


def test_gutenberg_is_held_out_by_blocks_of_500_lines(tmp_path):
    dataset, objects = build(tmp_path, "gutenberg/corpus_bilingual.txt")
    text = Path(FOLDER or "", "gutenberg/corpus_bilingual.txt").read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    lines = text.splitlines(keepends=True) if "\x0c" not in text else text.split("\n")
    blocks = ["".join(lines[start : start + 500]) for start in range(0, len(lines), 500)]
    assert list(read_documents(dataset, "validation", objects)) == blocks[9::10]
    assert dataset.num_dropped_duplicates == 0
    assert sum(split.num_characters for split in dataset.splits.values()) == len(text)


def test_tinyshakespeare_keeps_every_character(tmp_path):
    dataset, _ = build(tmp_path, "tinyshakespeare/input.txt")
    assert sum(split.num_characters for split in dataset.splits.values()) == 1_115_394


def test_gsm8k_rows_are_documents(tmp_path):
    dataset, _ = build(tmp_path, "gsm8k/*.jsonl", text_field="answer")
    assert (
        sum(split.num_documents for split in dataset.splits.values()) + dataset.num_dropped_duplicates == 7_473 + 1_319
    )


def test_wikitext_folder_is_read_whole(tmp_path):
    dataset, _ = build(tmp_path, "wikitext2")
    assert [file.name for file in dataset.files] == ["test.txt", "valid.txt"]
