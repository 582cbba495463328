"""What every object store promises. To try another one, add a case to `CASES`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainwright.core.errors import ChecksumMismatch, ObjectDamaged, ObjectMissing, SourceNotFound, TraceForgotten
from trainwright.core.hashing import digest_bytes
from trainwright.store.objects import FolderObjects, MemoryObjects, ObjectStore


@dataclass
class Case:
    """A store, and how to damage an object in it behind its back."""

    store: ObjectStore
    damage: Callable[[str, bytes], None]


def build_folder_case(tmp_path: Path) -> Case:
    store = FolderObjects(tmp_path / "objects")

    def damage(digest: str, data: bytes) -> None:
        path = tmp_path / "objects" / digest[:2] / digest[2:]
        path.chmod(0o644)
        path.write_bytes(data)

    return Case(store, damage)


def build_memory_case(tmp_path: Path) -> Case:
    store = MemoryObjects()

    def damage(digest: str, data: bytes) -> None:
        store._data[digest] = data

    return Case(store, damage)


CASES = {"folder": build_folder_case, "memory": build_memory_case}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path)


@pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)) * 10_000])
def test_bytes_come_back_under_their_digest(case: Case, data: bytes) -> None:
    digest = case.store.put(data)
    assert digest == digest_bytes(data)
    assert case.store.get(digest) == data
    assert case.store.open_local(digest).read_bytes() == data
    assert case.store.has(digest)
    case.store.require_intact(digest)


def test_putting_twice_keeps_one(case: Case) -> None:
    first, second = case.store.put(b"same"), case.store.put(b"same")
    assert first == second
    assert list(case.store.iterate()) == [first]


def test_a_file_is_stored_like_its_bytes(case: Case, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"0123456789" * 300_000)  # more than one piece
    assert case.store.put_file(source) == digest_bytes(source.read_bytes())
    assert case.store.get(digest_bytes(source.read_bytes())) == source.read_bytes()


def test_a_file_that_is_not_there_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"absent\.bin"):
        case.store.put_file(tmp_path / "absent.bin")


def test_a_file_that_changes_while_it_is_read_is_refused(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"before")

    def digest_then_change(path: Path) -> str:
        digest = digest_bytes(path.read_bytes())
        path.write_bytes(b"after!")
        return digest

    monkeypatch.setattr("trainwright.store.objects._digest_source", digest_then_change)
    with pytest.raises(ChecksumMismatch, match="changed while"):
        case.store.put_file(source)
    assert list(case.store.iterate()) == []


def test_iterate_gives_every_digest_in_order(case: Case) -> None:
    digests = {case.store.put(str(number).encode()) for number in range(30)}
    assert list(case.store.iterate()) == sorted(digests)


@pytest.mark.parametrize("name", ["0" * 64, "", "0", "../../etc/passwd", "A" * 64])
def test_what_was_never_put_is_missing(case: Case, name: str) -> None:
    assert not case.store.has(name)
    for read in (case.store.get, case.store.open_local, case.store.require_intact):
        with pytest.raises(ObjectMissing):
            read(name)


@pytest.mark.parametrize("damaged", [b"right byteZ", b"right", b"", b"right bytes and more"])
@pytest.mark.parametrize("way", ["get", "open_local", "require_intact"])
def test_damaged_object_is_named_and_set_aside(case: Case, way: str, damaged: bytes) -> None:
    digest = case.store.put(b"right bytes")
    case.damage(digest, damaged)
    with pytest.raises(ObjectDamaged, match=digest[:12]):
        getattr(case.store, way)(digest)
    assert not case.store.has(digest)
    assert list(case.store.iterate()) == []
    with pytest.raises(ObjectMissing):
        case.store.get(digest)


@pytest.mark.parametrize("was_seen", [True, False])
def test_putting_the_right_bytes_heals(case: Case, was_seen: bool, tmp_path: Path) -> None:
    digest = case.store.put(b"right bytes")
    case.damage(digest, b"wrong bytes!")
    if was_seen:
        with pytest.raises(ObjectDamaged):
            case.store.get(digest)
    assert case.store.put(b"right bytes") == digest
    assert case.store.get(digest) == b"right bytes"


def test_damage_after_a_local_open_is_seen_by_the_next(case: Case) -> None:
    digest = case.store.put(b"right bytes")
    case.store.open_local(digest)
    case.damage(digest, b"longer wrong bytes")
    with pytest.raises(ObjectDamaged):
        case.store.open_local(digest)


# ── erasing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_was_erased_is_gone_and_says_why(case: Case, tmp_path: Path) -> None:
    kept, digest = case.store.put(b"kept"), case.store.put(b"gone")
    case.store.open_local(digest)
    case.store.erase(digest, "It was asked for.")
    assert not case.store.has(digest)
    assert list(case.store.iterate()) == [kept]
    for read in (case.store.get, case.store.open_local, case.store.require_intact):
        with pytest.raises(TraceForgotten, match=digest[:12]) as caught:
            read(digest)
        assert caught.value.why == "It was asked for."


def test_what_was_erased_cannot_be_put_again(case: Case, tmp_path: Path) -> None:
    digest = case.store.put(b"gone")
    case.store.erase(digest, "It was asked for.")
    case.store.erase(digest, "It was asked for.")
    source = tmp_path / "source"
    source.write_bytes(b"gone")
    with pytest.raises(TraceForgotten):
        case.store.put(b"gone")
    with pytest.raises(TraceForgotten):
        case.store.put_file(source)
    assert not case.store.has(digest)


def test_what_was_never_here_can_be_erased_beforehand(case: Case) -> None:
    case.store.erase(digest_bytes(b"later"), "It was asked for.")
    with pytest.raises(TraceForgotten):
        case.store.put(b"later")


def test_damaged_bytes_that_were_set_aside_are_erased_too(case: Case, tmp_path: Path) -> None:
    digest = case.store.put(b"a secret")
    case.damage(digest, b"a secrex")
    with pytest.raises(ObjectDamaged):
        case.store.get(digest)
    case.store.erase(digest, "It was asked for.")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"a secre" in path.read_bytes()]
