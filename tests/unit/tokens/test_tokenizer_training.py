import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor

from trainwright.core.errors import SourceEmpty, VocabularyTooLarge, VocabularyTooSmall
from trainwright.core.hashing import digest_bytes
from trainwright.tokens.training import sample_sentences

CHILD = """
import importlib.util, os, sys
if sys.argv[2] == "one":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
spec = importlib.util.spec_from_file_location("corpus", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["corpus"] = module
spec.loader.exec_module(module)
print(module.train(module.write_corpus(), algorithm=sys.argv[3], vocab_size=400).record.id)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot limit a process to one core")
@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_same_text_gives_same_record_in_another_process_on_other_cores(tmp_path, train_on, corpus, algorithm):
    def train_in_child(cores: str) -> str:
        folder = tmp_path / cores
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": "11", "TMPDIR": str(folder)}
        command = [sys.executable, "-c", CHILD, str(Path(__file__).with_name("conftest.py")), cores, algorithm]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    here = train_on(corpus, algorithm=algorithm, vocab_size=400).record.id
    assert train_in_child("one") == here
    assert train_in_child("all") == here


def test_record_describes_the_tokenizer(trained):
    record = trained.record
    assert record.vocab_size == 500 == trained.opened.vocab_size
    assert record.dataset is not None
    assert set(record.files) == {"tokenizer.model", "tokenizer.json"}
    assert all(digest_bytes(trained.objects.get(digest)) == digest for digest in record.files.values())
    assert record.settings["byte_fallback"] is True
    assert record.settings["num_threads"] == 1
    assert record.settings["sentencepiece"]
    assert record.settings["num_training_characters"] > 1000


def test_special_tokens_have_their_fixed_ids(trained):
    processor = SentencePieceProcessor(model_proto=trained.objects.get(trained.record.files["tokenizer.model"]))
    names = {role: processor.id_to_piece(value) for role, value in trained.record.special_tokens.model_dump().items()}
    assert names == {
        "pad": "<pad>",
        "unknown": "<unk>",
        "begin": "<s>",
        "end": "</s>",
        "turn_start": "<start_of_turn>",
        "turn_end": "<end_of_turn>",
    }
    assert trained.record.special_tokens.model_dump() == {
        "pad": 0,
        "unknown": 1,
        "begin": 2,
        "end": 3,
        "turn_start": 4,
        "turn_end": 5,
    }


def test_vocabulary_beyond_the_text_names_the_largest_which_then_works(train_on):
    texts = ["the cat sat on the mat\na dog ran to the red house\nand then it slept all day long"]
    for algorithm in ("unigram", "bpe"):
        with pytest.raises(VocabularyTooLarge) as caught:
            train_on(texts, algorithm=algorithm, vocab_size=5000)
        largest = int(caught.value.message.rpartition(" ")[2].rstrip("."))
        assert f"--vocab-size {largest}" in caught.value.next_step
        assert train_on(texts, algorithm=algorithm, vocab_size=largest).record.vocab_size == largest
        with pytest.raises(VocabularyTooLarge):
            train_on(texts, algorithm=algorithm, vocab_size=largest + 1)
        assert train_on(texts, algorithm=algorithm).record.vocab_size == largest  # auto


def test_vocabulary_below_bytes_and_characters_names_the_smallest_which_then_works(train_on, corpus):
    with pytest.raises(VocabularyTooSmall) as caught:
        train_on(corpus, vocab_size=256)
    smallest = int(caught.value.message.rpartition(" ")[2].rstrip("."))
    assert f"--vocab-size {smallest}" in caught.value.next_step
    assert train_on(corpus, vocab_size=smallest).record.vocab_size == smallest


def test_auto_makes_room_for_a_script_of_thousands_of_characters(train_on):
    characters = "".join(chr(0x4E00 + number) for number in range(5000))
    trained = train_on([characters + "\n" + characters[::-1]])
    assert trained.record.vocab_size > 5000
    assert trained.opened.decode(trained.opened.encode(characters)) == characters


def test_text_of_line_ends_alone_is_an_error(train_on):
    with pytest.raises(SourceEmpty):
        train_on(["\n\n\n", ""])


@pytest.mark.parametrize("text", ["a", "aaaa", "7", "no-space-anywhere", "   ", "\t"])
def test_smallest_of_texts_still_give_a_tokenizer_that_writes_everything(train_on, text):
    opened = train_on([text]).opened
    other = "Other text, with  spaces\n\tand é."
    assert opened.decode(opened.encode(other)) == other


def test_training_says_nothing(train_on, corpus, capfd):
    train_on(corpus, vocab_size=400)
    with pytest.raises(VocabularyTooLarge):
        train_on(corpus, vocab_size=60_000)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mark", ["\u2581", "\u2585", "\r", "\t", "\x00"])
def test_lines_with_the_trainers_own_marks_are_learned_from(train_on, mark):
    opened = train_on([f"zebra{mark}quagga\n" * 50], algorithm="bpe").opened
    assert len(opened.encode("zebra")) == 1
    assert len(opened.encode("quagga")) == 1


def test_long_line_is_learned_from_and_encoded_like_its_parts(train_on):
    line = "wandering zebras " * 10_000  # far beyond SentencePiece's own limit for one sentence
    opened = train_on([line]).opened
    assert opened.encode(line) == opened.encode("wandering zebras") + opened.encode(" wandering zebras") * 9_999 + (
        opened.encode(" ")
    )


def test_sample_takes_everything_where_the_text_is_small():
    assert sample_sentences(["one\ntwo\n\nthree", "four"], 16) == ["one", "two", "three", "four"]


def test_sample_is_spread_evenly_over_a_large_text():
    lines = [f"{number:04d}" for number in range(1000)]
    kept = [int(line) for line in sample_sentences(["\n".join(lines)], 4000, max_characters=400)]
    assert len(kept) == 100
    assert {later - earlier for earlier, later in itertools.pairwise(kept)} == {10}
