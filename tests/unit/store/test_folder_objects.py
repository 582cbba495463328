import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainwright.core.errors import ObjectDamaged
from trainwright.store import objects
from trainwright.store.objects import FolderObjects


def test_objects_lie_fanned_out_and_read_only(tmp_path: Path) -> None:
    digest = FolderObjects(tmp_path).put(b"text")
    path = tmp_path / digest[:2] / digest[2:]
    assert path.read_bytes() == b"text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_damaged_bytes_are_kept_for_inspection(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    digest = store.put(b"text")
    path = tmp_path / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"torn")
    with pytest.raises(ObjectDamaged) as caught:
        store.get(digest)
    aside = tmp_path / "damaged" / digest
    assert aside.read_bytes() == b"torn"
    assert str(aside) in caught.value.message


def test_what_a_killed_writer_left_is_not_an_object(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    digest = store.put(b"text")
    (tmp_path / digest[:2] / f".{digest[2:]}.x1y2.tmp").write_bytes(b"te")
    (tmp_path / "README").write_bytes(b"")
    assert list(store.iterate()) == [digest]


def test_open_local_hashes_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderObjects(tmp_path)
    digest = store.put(b"text")
    hashed: list[Path] = []

    def count(path: Path) -> str:
        hashed.append(path)
        return digest

    monkeypatch.setattr(objects, "digest_file", count)
    store.open_local(digest)
    store.open_local(digest)
    assert len(hashed) == 1


def test_no_room_is_disk_full_and_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from trainwright.core.errors import DiskFull
from trainwright.store.objects import FolderObjects
store = FolderObjects(Path({str(tmp_path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.put(bytes(5000))
except DiskFull as error:
    print("full", [path.name for path in Path({str(tmp_path)!r}).rglob("*") if path.is_file()])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "full []"
