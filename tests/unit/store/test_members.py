"""Which dataset versions hold a trace."""

from contextlib import closing

import pytest

from trainwright.core.errors import LedgerUnavailable
from trainwright.core.hashing import digest_bytes
from trainwright.core.records import DatasetVersion
from trainwright.store import members as members_module
from trainwright.store.members import Members, take_in_versions
from trainwright.store.objects import MemoryObjects


def trace_id(number: int) -> str:
    return digest_bytes(str(number).encode())


def dataset_of(objects: MemoryObjects, numbers: range, version: str, *, is_kept: bool = True) -> DatasetVersion:
    listed = "".join(f"{trace_id(number)}\n" for number in numbers).encode()
    records = objects.put(listed) if is_kept else digest_bytes(listed)
    return DatasetVersion(
        source="traces", files=(), recipe={}, splits={}, name="dev", version=version, records=records, statistics={}
    )


@pytest.fixture
def members(tmp_path):
    with closing(Members(tmp_path / "members.sqlite")) as opened:
        yield opened


def test_every_version_that_holds_a_trace_is_found(members, monkeypatch) -> None:
    monkeypatch.setattr(members_module, "CHUNK", 7)
    assert members.add("a" * 64, map(trace_id, range(50))) == 50
    assert members.add("b" * 64, map(trace_id, range(40, 60))) == 20
    assert members.find(trace_id(3)) == ["a" * 64]
    assert members.find(trace_id(45)) == ["a" * 64, "b" * 64]
    assert members.find(trace_id(55)) == ["b" * 64]
    assert members.find(trace_id(99)) == []
    assert members.datasets() == {"a" * 64, "b" * 64}


def test_a_version_is_taken_in_once(members) -> None:
    assert members.add("a" * 64, [trace_id(1)]) == 1
    assert members.add("a" * 64, [trace_id(2)]) == 0
    assert members.find(trace_id(2)) == []


def test_a_version_is_taken_in_whole_or_not_at_all(members) -> None:
    def break_off():
        yield trace_id(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        members.add("a" * 64, break_off())
    assert members.datasets() == set()
    assert members.find(trace_id(1)) == []


def test_ids_are_found_by_their_beginning(members) -> None:
    ids = sorted(map(trace_id, range(300)))
    members.add("a" * 64, ids)
    members.add("b" * 64, ids)
    for text in (ids[7], ids[7][:5], ids[7][:8].upper()):
        assert members.ids_beginning(text, 400) == [one for one in ids if one.startswith(text.lower())]
    assert members.ids_beginning(ids[7][:1], 3) == [one for one in ids if one.startswith(ids[7][:1])][:3]


def test_versions_that_are_not_in_it_yet_are_taken_in(members) -> None:
    objects = MemoryObjects()
    first, second = dataset_of(objects, range(5), "v1"), dataset_of(objects, range(3, 9), "v2")
    cut_short = dataset_of(objects, range(20, 30), "v3", is_kept=False)
    assert take_in_versions(members, [first], objects) == 5
    assert take_in_versions(members, [first, second, cut_short], objects) == 6
    assert members.find(trace_id(4)) == [first.id, second.id]
    assert members.datasets() == {first.id, second.id}


def test_a_damaged_index_says_how_it_is_made_again(tmp_path) -> None:
    path = tmp_path / "members.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerUnavailable) as caught:
        Members(path)
    assert "store reindex" in caught.value.next_step
