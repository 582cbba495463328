import json

import pytest

from trainwright.core.errors import (
    ChecksumMismatch,
    InvalidEncoding,
    InvalidValue,
    NotText,
    ObjectDamaged,
    SourceEmpty,
    SourceTooShort,
)
from trainwright.core.manifest import DataSection, SplitSection
from trainwright.data.dataset import build_dataset, compute_dataset_key, read_documents
from trainwright.data.sources import locate_source
from trainwright.store.objects import FolderObjects, MemoryObjects


def quiet(*event):
    pass


def build(tmp_path, objects=None, **settings):
    section = DataSection(**settings)
    located = locate_source(section, downloads=tmp_path / "downloads", on_progress=quiet)
    return build_dataset(located, section, objects or MemoryObjects(), on_progress=quiet)


def key(tmp_path, **settings):
    section = DataSection(**settings)
    return compute_dataset_key(locate_source(section, downloads=tmp_path / "d", on_progress=quiet), section)


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def write_lines(path, num_lines):
    path.write_text("".join(f"line {number}\n" for number in range(num_lines)))
    return str(path)


def test_every_tenth_document_is_held_out_in_order(tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", [f"text {number}" for number in range(25)])
    objects = MemoryObjects()
    dataset = build(tmp_path, objects, corpus=corpus)
    assert list(read_documents(dataset, "validation", objects)) == ["text 9", "text 19"]
    expected = [f"text {number}" for number in range(25) if number % 10 != 9]
    assert list(read_documents(dataset, "train", objects)) == expected
    train = dataset.splits["train"]
    assert (train.num_documents, train.num_characters) == (23, sum(map(len, expected)))


def test_bytes_are_counted_as_utf8(tmp_path):
    dataset = build(tmp_path, corpus=write_jsonl(tmp_path / "a.jsonl", ["é€😀"] + [f"x{n}" for n in range(9)]))
    assert dataset.splits["train"].num_characters == 3 + 16
    assert dataset.splits["train"].num_bytes == 9 + 16


def test_blocks_of_one_file_lose_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n" + "".join(f"  line {number} é\n" for number in range(9999)) + "\n last")
    objects = MemoryObjects()
    dataset = build(tmp_path, objects, corpus=str(path))
    train, validation = (list(read_documents(dataset, split, objects)) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (19, 2)
    blocks = [*train[:9], validation[0], *train[9:18], validation[1], *train[18:]]
    assert "".join(blocks) == path.read_text()
    assert dataset.recipe["split"] == {"by": "block", "validation_every": 10, "block_lines": 500}


def test_used_block_size_is_on_record(tmp_path):
    dataset = build(tmp_path, corpus=write_lines(tmp_path / "a.txt", 100))
    assert dataset.recipe["split"]["block_lines"] == 10
    (tmp_path / "b.txt").write_text("a text on one line that has twelve words or maybe even more")
    assert build(tmp_path, corpus=str(tmp_path / "b.txt")).recipe["split"]["block_characters"] == 2


def test_duplicates_across_the_split_are_dropped_from_training(tmp_path):
    texts = [f"text {number}" for number in range(20)]
    texts[0] = texts[5] = texts[9]
    texts[1] = texts[2]
    objects = MemoryObjects()
    dataset = build(tmp_path, objects, corpus=write_jsonl(tmp_path / "a.jsonl", texts))
    assert dataset.num_dropped_duplicates == 2
    train = list(read_documents(dataset, "train", objects))
    assert "text 9" not in train
    assert train.count("text 2") == 2


def test_named_validation_is_the_validation_split(tmp_path):
    corpus = write_jsonl(tmp_path / "train.jsonl", ["a", "b", "shared"])
    held_out = write_jsonl(tmp_path / "held.jsonl", ["shared", "c"])
    objects = MemoryObjects()
    dataset = build(tmp_path, objects, corpus=corpus, validation=held_out)
    assert list(read_documents(dataset, "train", objects)) == ["a", "b"]
    assert list(read_documents(dataset, "validation", objects)) == ["shared", "c"]
    assert dataset.num_dropped_duplicates == 1
    assert [file.name for file in dataset.files] == ["train.jsonl", "validation:held.jsonl"]


def test_validating_on_the_training_file_is_refused(tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", ["a", "b"])
    with pytest.raises(SourceTooShort, match="Nothing is left"):
        build(tmp_path, corpus=corpus, validation=corpus)


def test_same_text_gives_the_same_version_wherever_it_lies(tmp_path):
    records = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        records.append(build(tmp_path, FolderObjects(folder / "objects"), corpus=write_lines(folder / "a.txt", 700)))
    assert records[0].id == records[1].id
    assert str(tmp_path) not in records[0].model_dump_json()


def test_key_changes_exactly_with_what_matters(tmp_path):
    corpus = write_lines(tmp_path / "a.txt", 100)
    first = key(tmp_path, corpus=corpus)
    assert key(tmp_path, corpus=corpus, refresh=True) == first
    assert key(tmp_path, corpus=corpus, split=SplitSection(block_lines=7)) != first
    assert key(tmp_path, corpus=corpus, validation=corpus) != first
    write_lines(tmp_path / "a.txt", 101)
    assert key(tmp_path, corpus=corpus) != first


def test_cleaning_is_on_record(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + b"".join(b"line %d\r\n" % n for n in range(30)))
    cleaning = build(tmp_path, corpus=str(tmp_path / "a.txt")).recipe["cleaning"]
    assert (cleaning["num_byte_order_marks"], cleaning["num_crlf"]) == (1, 30)


def test_text_field_is_on_record_where_it_matters(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"body": "text {n}"}}\n' for n in range(10)))
    dataset = build(tmp_path, corpus=str(tmp_path / "a.jsonl"), text_field="body")
    assert dataset.recipe["text_field"] == "body"
    assert "text_field" not in build(tmp_path, corpus=write_lines(tmp_path / "b.txt", 20)).recipe


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"<|endoftext|>\n\n<|endoftext|>\n"])
def test_text_without_text_is_empty(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(SourceEmpty, match=r"a\.txt"):
        build(tmp_path, corpus=str(tmp_path / "a.txt"))


def test_bad_input_leaves_nothing_in_the_store(tmp_path):
    objects = MemoryObjects()
    (tmp_path / "a.txt").write_bytes(b"good line\n" * 5000 + b"\xff")
    with pytest.raises(InvalidEncoding, match="byte offset 50000"):
        build(tmp_path, objects, corpus=str(tmp_path / "a.txt"))
    (tmp_path / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(NotText):
        build(tmp_path, objects, corpus=str(tmp_path / "b.txt"))
    assert list(objects.iterate()) == []


def test_file_that_changes_after_it_was_located_is_noticed(tmp_path):
    section = DataSection(corpus=write_lines(tmp_path / "a.txt", 100))
    located = locate_source(section, downloads=tmp_path, on_progress=quiet)
    write_lines(tmp_path / "a.txt", 101)
    with pytest.raises(ChecksumMismatch, match="changed"):
        build_dataset(located, section, MemoryObjects(), on_progress=quiet)


def test_unknown_split_names_those_there_are(tmp_path):
    dataset = build(tmp_path, corpus=write_lines(tmp_path / "a.txt", 100))
    with pytest.raises(InvalidValue, match="'test'") as caught:
        read_documents(dataset, "test", MemoryObjects())
    assert "train, validation" in caught.value.why


def test_damaged_documents_are_noticed_before_they_are_parsed(tmp_path):
    dataset = build(tmp_path, FolderObjects(tmp_path / "objects"), corpus=write_lines(tmp_path / "a.txt", 100))
    digest = dataset.splits["train"].documents
    path = FolderObjects(tmp_path / "objects").open_local(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"line 1", b"lime 1"))
    with pytest.raises(ObjectDamaged):
        read_documents(dataset, "train", FolderObjects(tmp_path / "objects"))


def test_long_line_separators_survive_storage(tmp_path):
    text = "one\u2028two\x85three\x0cfour"
    objects = MemoryObjects()
    dataset = build(tmp_path, objects, corpus=write_jsonl(tmp_path / "a.jsonl", [text, *map(str, range(10))]))
    assert next(read_documents(dataset, "train", objects)) == text
