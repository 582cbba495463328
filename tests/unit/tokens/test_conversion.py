import json
import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from trainwright.core.errors import TokenizerUnreadable
from trainwright.tokens.scores import round_scores

NAMES = ["<s>", "</s>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<0x41>", "<0xE2>", "</pad>", "<span>"]
# Without U+2581, which SentencePiece's own encoder reads as a space.
TEXT = st.lists(
    st.one_of(
        st.text(max_size=6).filter(lambda text: "\u2581" not in text),
        st.text(alphabet="ao <>/s", max_size=12),
        st.text(alphabet="a", min_size=1, max_size=40),
        st.sampled_from([*NAMES, " ", "   ", "\n", "\n\n", "\t", "😀", "1234", "the river", "café", "\u0301"]),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="session")
def both(trained):
    """The model in SentencePiece, and its conversion in the `tokenizers` library, reading names as text."""
    processor = SentencePieceProcessor(model_proto=trained.objects.get(trained.record.files["tokenizer.model"]))
    converted = tokenizers.Tokenizer.from_buffer(trained.objects.get(trained.record.files["tokenizer.json"]))
    converted.encode_special_tokens = True
    return processor, converted


@settings(max_examples=500)
@given(text=TEXT)
def test_converted_tokenizer_gives_the_same_ids_and_text(both, trained, text):
    processor, converted = both
    ids = converted.encode(text).ids
    assert ids == processor.encode(text) == trained.opened.encode(text)
    assert converted.decode(ids) == processor.decode(ids) == text


def test_converted_tokenizer_agrees_on_the_corpus(both, trained, corpus):
    _, converted = both
    assert [encoding.ids for encoding in converted.encode_batch(corpus)] == [trained.opened.encode(t) for t in corpus]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_ties_in_repetitive_text_are_broken_alike(train_on, algorithm):
    rng = random.Random(3)
    corpus = [" ".join("".join(rng.choices("ab", k=rng.randint(1, 12))) for _ in range(20)) for _ in range(40)]
    trained = train_on([*corpus, *("a" * length for length in range(1, 30))], algorithm=algorithm)
    processor = SentencePieceProcessor(model_proto=trained.objects.get(trained.record.files["tokenizer.model"]))
    converted = tokenizers.Tokenizer.from_buffer(trained.objects.get(trained.record.files["tokenizer.json"]))
    texts = ["a" * length for length in range(1, 100)] + ["".join(rng.choices("ab", k=30)) for _ in range(2000)]
    assert [converted.encode(text).ids for text in texts] == processor.encode(texts)


def test_names_of_special_tokens_mean_them_only_to_other_tools(trained):
    converted = tokenizers.Tokenizer.from_buffer(trained.objects.get(trained.record.files["tokenizer.json"]))
    special = trained.record.special_tokens
    assert converted.encode("<start_of_turn></s>").ids == [special.turn_start, special.end]
    assert special.turn_start not in trained.opened.encode("<start_of_turn></s>")
    assert converted.decode([special.begin, *trained.opened.encode("the river"), special.end]) == "the river"


def test_character_of_the_space_mark_survives_in_bytes(both, trained):
    _, converted = both
    ids = trained.opened.encode("a▁b ▁▁")
    assert trained.opened.decode(ids) == "a▁b ▁▁" == converted.decode(ids)
    assert converted.decode(converted.encode("a▁b").ids) == "a b"  # what other tools make of it, as documented


def test_conversion_is_named_by_the_same_digest_twice(trained, train_on, corpus):
    again = train_on(corpus, algorithm=trained.record.algorithm, vocab_size=500)
    assert again.record.files == trained.record.files


def test_rounding_changes_scores_alone(both, trained):
    processor, _ = both
    scores = [processor.get_score(token_id) for token_id in range(500)]
    assert all(score * 256 == round(score * 256) for score in scores)
    assert len(set(scores)) > 100
    model = trained.objects.get(trained.record.files["tokenizer.model"])
    assert round_scores(model) == model


def test_rounding_moves_no_score_by_more_than_half_a_step():
    pieces = [("a", -1.2345), ("b", -7.0), ("▁long piece", -12.3456789)]
    model = b"".join(_piece(text, score) for text, score in pieces) + b"\x12\x02\x18\x01"
    rounded = round_scores(model)
    assert len(rounded) == len(model)
    assert rounded.endswith(b"\x12\x02\x18\x01")
    expected = b"".join(_piece(text, round(score * 256) / 256) for text, score in pieces)
    assert rounded[: -len(b"\x12\x02\x18\x01")] == expected


@pytest.mark.parametrize("model", [b"\x0a\x05abc", b"\x0a", b"\x0b\x01", b"\x0a\x03\x15\x00\x00"])
def test_model_that_ends_early_or_is_none_is_unreadable(model):
    with pytest.raises(TokenizerUnreadable):
        round_scores(model)


def test_converted_file_is_plain_json_with_every_id_in_place(trained):
    document = json.loads(trained.objects.get(trained.record.files["tokenizer.json"]))
    vocabulary = document["model"]["vocab"]
    names = [item[0] for item in vocabulary] if isinstance(vocabulary, list) else sorted(vocabulary, key=vocabulary.get)
    assert len(names) == 500
    assert [token["content"] for token in document["added_tokens"]] == names[:6]


def _piece(text: str, score: float) -> bytes:
    import struct

    encoded = text.encode()
    body = b"\x0a" + bytes([len(encoded)]) + encoded + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + bytes([len(body)]) + body
