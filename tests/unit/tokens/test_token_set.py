import numpy as np
import pytest

from trainwright.core.errors import InternalError, TokenizerMismatch, TokenizerUnreadable
from trainwright.core.records import SpecialTokens, Tokenizer
from trainwright.store.objects import MemoryObjects
from trainwright.store.shards import open_split
from trainwright.tokens.token_set import build_token_set, require_same_tokenizer

END = 3


class OneIdPerCharacter:
    """A stand-in with any vocabulary size: each character is its code point."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode_many(self, texts):
        return [np.array([ord(character) for character in text], dtype=np.int32) for text in texts]


def describe_tokenizer(vocab_size: int, end: int | None = END, model: str = "a") -> Tokenizer:
    special = SpecialTokens(pad=0, unknown=1, begin=2, end=end)
    files = {"tokenizer.json": model * 64}
    return Tokenizer(
        dataset=None,
        algorithm="huggingface",
        vocab_size=vocab_size,
        special_tokens=special,
        files=files,
        settings={},
    )


def test_each_document_is_its_ids_and_the_end_token(trained, corpus, describe_splits):
    splits = {"train": corpus[:30], "validation": [*corpus[30:], "café 😀", ""]}
    dataset, objects = describe_splits(splits), MemoryObjects()
    built = build_token_set(dataset, trained.record, trained.opened, lambda name: iter(splits[name]), objects)
    assert (built.dataset, built.tokenizer) == (dataset.id, trained.record.id)
    assert (built.tokenizer_fingerprint, built.vocab_size, built.dtype) == (trained.record.fingerprint, 500, "uint16")
    for name, texts in splits.items():
        split = built.splits[name]
        reader = open_split(split, built.dtype, objects)
        documents = [
            reader.read(int(start), int(stop)).tolist()
            for start, stop in zip(reader.boundaries, reader.boundaries[1:], strict=False)
        ]
        assert documents == [[*trained.opened.encode(text), END] for text in texts]
        assert split.num_bytes == sum(len(text.encode()) for text in texts)
        assert (split.num_documents, split.num_tokens) == (len(texts), sum(map(len, documents)))


def test_same_dataset_and_tokenizer_give_the_same_token_set(trained, corpus, describe_splits):
    dataset = describe_splits({"train": corpus})
    built = [
        build_token_set(dataset, trained.record, trained.opened, lambda _: iter(corpus), MemoryObjects()).id
        for _ in range(2)
    ]
    assert built[0] == built[1]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_largest_id_survives_in_the_smallest_type_that_holds_it(describe_splits, vocab_size, dtype):
    text = chr(vocab_size - 1) + "a"
    objects = MemoryObjects()
    built = build_token_set(
        describe_splits({"train": [text]}),
        describe_tokenizer(vocab_size),
        OneIdPerCharacter(vocab_size),
        lambda _: iter([text]),
        objects,
    )
    assert built.dtype == dtype
    assert open_split(built.splits["train"], built.dtype, objects).read(0, 3).tolist() == [vocab_size - 1, 97, END]


def test_id_beyond_the_vocabulary_is_never_wrapped(describe_splits):
    text = chr(70_000)
    with pytest.raises(TokenizerMismatch, match="70000"):
        build_token_set(
            describe_splits({"train": [text]}),
            describe_tokenizer(500),
            OneIdPerCharacter(500),
            lambda _: iter([text]),
            MemoryObjects(),
        )


def test_documents_are_tokenized_in_batches_of_bounded_size(describe_splits):
    texts = ["a" * 400_000] * 7
    sizes = []

    class Recording(OneIdPerCharacter):
        def encode_many(self, texts):
            sizes.append(len(texts))
            return super().encode_many(texts)

    objects = MemoryObjects()
    dataset = describe_splits({"train": texts})
    built = build_token_set(dataset, describe_tokenizer(500), Recording(500), lambda _: iter(texts), objects)
    assert sizes == [3, 3, 1]
    assert built.splits["train"].num_tokens == 7 * 400_001


def test_opened_tokenizer_must_be_the_recorded_one(describe_splits):
    dataset = describe_splits({"train": ["abc"]})
    with pytest.raises(TokenizerMismatch, match="501"):
        build_token_set(
            dataset, describe_tokenizer(500), OneIdPerCharacter(501), lambda _: iter(["abc"]), MemoryObjects()
        )


def test_tokenizer_without_an_end_token_cannot_close_documents(describe_splits):
    dataset, tokenizer = describe_splits({"train": ["abc"]}), describe_tokenizer(500, end=None)
    with pytest.raises(TokenizerUnreadable, match="no end token"):
        build_token_set(dataset, tokenizer, OneIdPerCharacter(500), lambda _: iter(["abc"]), MemoryObjects())


@pytest.mark.parametrize("read", [["abc"], ["abc", "de", "f"], ["abc", "xyz"]])
def test_documents_that_are_not_the_datasets_are_noticed(describe_splits, read):
    dataset = describe_splits({"train": ["abc", "de"]})
    with pytest.raises(InternalError, match="train"):
        build_token_set(dataset, describe_tokenizer(500), OneIdPerCharacter(500), lambda _: iter(read), MemoryObjects())


def test_other_tokenizer_is_refused_and_both_fingerprints_named(describe_splits):
    mine, other = describe_tokenizer(500), describe_tokenizer(500, model="b")
    built = build_token_set(
        describe_splits({"train": ["abc"]}), mine, OneIdPerCharacter(500), lambda _: iter(["abc"]), MemoryObjects()
    )
    require_same_tokenizer(built, mine)
    with pytest.raises(TokenizerMismatch) as caught:
        require_same_tokenizer(built, other)
    assert mine.fingerprint[:12] in caught.value.message
    assert other.fingerprint[:12] in caught.value.message
