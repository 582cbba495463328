import numpy as np
import pytest

from trainwright.core.errors import (
    InternalError,
    SampleWithoutTarget,
    SourceEmpty,
    TokenizerMismatch,
    TokenizerUnreadable,
)
from trainwright.core.pieces import Piece, Sample
from trainwright.core.records import DatasetVersion, Rendering, SpecialTokens, Tokenizer
from trainwright.store.objects import MemoryObjects
from trainwright.store.shards import open_split
from trainwright.tokens.chat_tokens import encode_pieces
from trainwright.tokens.token_set import build_sample_token_set, build_token_set, require_same_tokenizer

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


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def make_rendering(**changed) -> Rendering:
    fields = {"template": "gemma", "template_digest": "a" * 64, "system": None, "max_tokens": 1000, "too_long": "drop"}
    return Rendering(**fields | changed)


def make_sample(number: int, prompt: str, answer: str) -> Sample:
    start, end = "<start_of_turn>", "<end_of_turn>"
    pieces = (
        *(Piece(start, is_control=True), Piece("user\n"), Piece(prompt), Piece(end, is_control=True), Piece("\n")),
        *(Piece(start, is_control=True), Piece("model\n"), Piece(answer, True), Piece(end, True, True)),
    )
    return Sample(f"{number:064x}", pieces)


SAMPLES = [
    make_sample(0, "the river", "the house 12"),
    make_sample(1, "é 😀", "a" * 50 + " é"),
    make_sample(2, "the " * 50, "no"),
]


def build_samples(trained, samples=SAMPLES, objects=None, **changed):
    dataset, stored = DatasetVersion(source="traces", files=(), recipe={}, splits={}), objects or MemoryObjects()
    rendering = make_rendering(**changed)
    return build_sample_token_set(dataset, trained.record, trained.opened, {"train": samples}, rendering, stored)


def test_each_document_is_a_sample_with_its_targets(trained):
    objects = MemoryObjects()
    built = build_samples(trained, objects=objects)
    split = built.splits["train"]
    reader = open_split(split, built.dtype, objects)
    encoded = [encode_pieces(trained.opened, sample.pieces) for sample in SAMPLES]
    assert reader.num_documents == split.num_documents == 3
    for number, sample in enumerate(encoded):
        ids, targets = reader.read_sample(number)
        assert ids.tolist() == sample.ids.tolist()
        assert targets.tolist() == (sample.targets == 1).tolist()
    assert split.num_targets == sum(sample.num_targets for sample in encoded)
    assert split.num_target_bytes == sum(len(text.encode()) for text in ("the house 12", "a" * 50 + " é", "no"))
    texts = ("user\n", "\nmodel\n", *(sample.pieces[2].text for sample in SAMPLES))
    assert split.num_bytes == split.num_target_bytes + sum(len(text.encode()) for text in texts) + 2 * len(
        "user\n\nmodel\n"
    )
    assert (split.num_dropped, split.num_truncated, built.rendering) == (0, 0, make_rendering())


def test_same_samples_give_the_same_token_set(trained):
    assert build_samples(trained).id == build_samples(trained).id
    assert build_samples(trained).id != build_samples(trained, template_digest="b" * 64).id


def test_token_set_of_documents_keeps_its_form(trained, corpus, describe_splits):
    dataset = describe_splits({"train": corpus})
    built = build_token_set(dataset, trained.record, trained.opened, lambda _: iter(corpus), MemoryObjects())
    document = built.model_dump(mode="json")
    assert "rendering" not in document
    assert set(document["splits"]["train"]) == {"shards", "boundaries", "num_tokens", "num_documents", "num_bytes"}


@pytest.mark.parametrize(
    ("too_long", "kept", "dropped", "truncated"),
    [("drop", 2, 1, 0), ("truncate-left", 3, 0, 1), ("truncate-right", 3, 0, 1)],
)
def test_sample_that_is_too_long_is_treated_as_stated_and_counted(trained, too_long, kept, dropped, truncated):
    long = make_sample(7, "the", "the river " * 40)
    samples, objects = [SAMPLES[0], long, SAMPLES[0]], MemoryObjects()
    whole = encode_pieces(trained.opened, long.pieces)
    built = build_samples(trained, samples, objects, max_tokens=60, too_long=too_long)
    split = built.splits["train"]
    assert (split.num_documents, split.num_dropped, split.num_truncated) == (kept, dropped, truncated)
    if truncated:
        ids, targets = open_split(split, built.dtype, objects).read_sample(1)
        part = slice(-60, None) if too_long == "truncate-left" else slice(None, 60)
        assert ids.tolist() == whole.ids[part].tolist()
        assert targets.tolist()[1:] == (whole.targets[part] == 1).tolist()[1:]
        assert not targets[0]
        assert split.num_targets == sum(
            int(open_split(split, built.dtype, objects).read_sample(at)[1].sum()) for at in range(3)
        )


def test_truncation_that_leaves_nothing_to_learn_is_an_error_by_id(trained):
    samples = [SAMPLES[0], SAMPLES[2]]
    with pytest.raises(SampleWithoutTarget, match=SAMPLES[2].id[:12]) as caught:
        build_samples(trained, samples, max_tokens=20, too_long="truncate-right")
    assert "20 that truncate-right leaves" in caught.value.why
    assert build_samples(trained, samples, max_tokens=20, too_long="truncate-left").splits["train"].num_documents == 2


def test_sample_without_a_target_is_an_error_by_id_whatever_its_length(trained):
    empty = Sample("f" * 64, (Piece("the river " * 100),))
    with pytest.raises(SampleWithoutTarget, match="f" * 12):
        build_samples(trained, [SAMPLES[0], empty], max_tokens=30, too_long="drop")


@pytest.mark.parametrize(("samples", "said"), [([], "no trace"), (SAMPLES, "longer than 2 tokens")])
def test_split_of_which_nothing_is_left_is_an_error(trained, samples, said):
    with pytest.raises(SourceEmpty, match="train") as caught:
        build_samples(trained, samples, max_tokens=2)
    assert said in caught.value.why
