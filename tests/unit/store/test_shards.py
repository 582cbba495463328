from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.core.errors import InternalError, ObjectDamaged, TokenizerMismatch
from trainwright.core.records import Shard, TokenSplit
from trainwright.store.objects import FolderObjects, MemoryObjects
from trainwright.store.shards import SampleWriter, ShardWriter, open_split


def write(objects, documents, dtype="uint16", max_tokens=2**26) -> TokenSplit:
    writer = ShardWriter(objects, dtype, max_tokens)
    for document in documents:
        writer.append(np.array(document, dtype=np.int64))
    num_tokens, num_documents = writer.num_tokens, writer.num_documents
    shards, boundaries = writer.close()
    return TokenSplit(
        shards=shards, boundaries=boundaries, num_tokens=num_tokens, num_documents=num_documents, num_bytes=0
    )


@settings(max_examples=30)
@given(
    documents=st.lists(st.lists(st.integers(0, 65_535), max_size=12), max_size=8),
    max_tokens=st.integers(1, 9),
    data=st.data(),
)
def test_what_was_appended_is_read_across_shard_borders(documents, max_tokens, data) -> None:
    objects = MemoryObjects()
    reader = open_split(write(objects, documents, max_tokens=max_tokens), "uint16", objects)
    flat = [token for document in documents for token in document]
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    ids = reader.read(start, stop)
    assert ids.dtype == np.int32
    assert ids.tolist() == flat[start:stop]
    assert reader.num_tokens == len(flat)
    assert reader.boundaries.tolist() == [0, *np.cumsum([len(document) for document in documents]).tolist()]
    assert reader.num_documents == len(documents)


def test_shards_are_little_endian_and_bounded() -> None:
    objects = MemoryObjects()
    split = write(objects, [[1, 2, 258], [3, 4]], max_tokens=2)
    assert [shard.num_tokens for shard in split.shards] == [2, 2, 1]
    assert objects.get(split.shards[1].digest) == b"\x02\x01\x03\x00"
    wide = write(objects, [[70_000]], dtype="uint32")
    assert objects.get(wide.shards[0].digest) == b"\x70\x11\x01\x00"


@pytest.mark.parametrize(("dtype", "token"), [("uint16", 65_536), ("uint16", -1), ("uint32", 2**31), ("uint32", -1)])
def test_an_id_that_does_not_fit_is_an_error_and_never_wraps(dtype, token) -> None:
    writer = ShardWriter(MemoryObjects(), dtype)
    with pytest.raises(TokenizerMismatch, match=str(token)):
        writer.append(np.array([1, token], dtype=np.int64))
    assert writer.num_tokens == 0


def test_the_largest_ids_fit() -> None:
    objects = MemoryObjects()
    split = write(objects, [[65_535]], "uint16")
    assert open_split(split, "uint16", objects).read(0, 1).tolist() == [65_535]
    split = write(objects, [[2**31 - 1]], "uint32")
    assert open_split(split, "uint32", objects).read(0, 1).tolist() == [2**31 - 1]


def test_only_rows_of_integers_are_documents() -> None:
    writer = ShardWriter(MemoryObjects(), "uint16")
    with pytest.raises(ValueError, match="row of integers"):
        writer.append(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="row of integers"):
        writer.append(np.zeros((2, 2), dtype=np.int64))


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 6), (3, 2)])
def test_reading_outside_the_split_is_an_error(start, stop) -> None:
    objects = MemoryObjects()
    reader = open_split(write(objects, [[1, 2, 3, 4, 5]]), "uint16", objects)
    with pytest.raises(IndexError, match="5 tokens"):
        reader.read(start, stop)


def test_what_is_read_is_a_copy() -> None:
    objects = MemoryObjects()
    reader = open_split(write(objects, [[1, 2, 3]]), "uint16", objects)
    reader.read(0, 3)[:] = 9
    assert reader.read(0, 3).tolist() == [1, 2, 3]


def test_a_damaged_shard_is_found_before_it_is_read(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    split = write(objects, [[1, 2, 3]])
    path = tmp_path / split.shards[0].digest[:2] / split.shards[0].digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"\x01\x00\x02\x00\x04\x00")
    with pytest.raises(ObjectDamaged):
        open_split(split, "uint16", objects)


@pytest.mark.parametrize(
    "change",
    [
        lambda split: {"num_tokens": split.num_tokens + 1},
        lambda split: {"num_documents": 1},
        lambda split: {"shards": (Shard(digest=split.shards[0].digest, num_tokens=2),)},
        lambda split: {"shards": ()},
    ],
)
def test_bytes_that_are_not_what_the_record_says_are_refused(change) -> None:
    objects = MemoryObjects()
    split = write(objects, [[1, 2], [3]])
    with pytest.raises(InternalError):
        open_split(split.model_copy(update=change(split)), "uint16", objects)


@pytest.fixture
def objects():
    return MemoryObjects()


def write_samples(objects, samples, **counts):
    writer = SampleWriter(objects, "uint16", max_tokens=4)
    for ids, targets in samples:
        writer.append(np.array(ids, dtype=np.int32), np.array(targets, dtype=np.uint8))
    return writer.close(**{"num_bytes": 0, "num_target_bytes": 0, "num_dropped": 0, "num_truncated": 0} | counts)


def test_samples_come_back_with_their_targets(objects):
    samples = [([5, 6, 7], [0, 1, 1]), ([8], [0]), ([9, 10, 11, 12], [0, 0, 1, 0])]
    split = write_samples(objects, samples, num_dropped=2)
    assert (split.num_documents, split.num_tokens, split.num_targets, split.num_dropped) == (3, 8, 3, 2)
    reader = open_split(split, "uint16", objects)
    for number, (ids, targets) in enumerate(samples):
        found = reader.read_sample(number)
        assert [part.tolist() for part in found] == [ids, [target == 1 for target in targets]]
    assert reader.read_targets(2, 5).tolist() == [True, False, False]
    for number in (-1, 3):
        with pytest.raises(IndexError):
            reader.read_sample(number)
    with pytest.raises(IndexError):
        reader.read_targets(0, 9)


def test_everything_is_a_target_where_the_split_says_nothing(objects):
    reader = open_split(write(objects, [[1, 2], [3]]), "uint16", objects)
    assert reader.read_sample(0)[1].tolist() == [True, True]


def test_targets_that_are_not_the_records_are_refused(objects):
    split = write_samples(objects, [([5, 6, 7], [0, 1, 1])])
    for changed in ({"targets": objects.put(bytes([0, 1]))}, {"num_targets": 1}):
        with pytest.raises(InternalError, match="targets"):
            open_split(split.model_copy(update=changed), "uint16", objects)


@pytest.mark.parametrize("targets", [[0], [0, 2]])
def test_targets_are_one_zero_or_one_for_each_id(objects, targets):
    with pytest.raises(ValueError, match="for each id"):
        write_samples(objects, [([5, 6], targets)])
