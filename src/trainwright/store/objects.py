"""Bytes named by their SHA-256: put once, never changed, verified whenever they are read back."""

import hashlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from trainwright.core.durable import write_chunks, write_file
from trainwright.core.errors import (
    ChecksumMismatch,
    ObjectDamaged,
    ObjectMissing,
    SourceNotFound,
    TraceForgotten,
    translate_write_errors,
)
from trainwright.core.hashing import digest_bytes, digest_file

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FAN_OUT = re.compile(r"[0-9a-f]{2}")
_CHUNK_BYTES = 1 << 20
_READ_ONLY = 0o444


class ObjectStore(Protocol):
    """Where bytes lie. Every implementation keeps these promises (`tests/contract/test_objects_contract.py`).

    An object is named by the SHA-256 of its bytes and never changes. Once `put` or `put_file` has returned, the bytes
    survive a killed process. Nothing is handed out before its digest was verified; bytes that fail are set aside: kept
    for inspection, but never found again. Putting the right bytes heals the store. Bytes that were erased are gone for
    good: whoever asks for them, or puts them again, is told why.
    """

    def put(self, data: bytes) -> str:
        """Keep `data`; return its digest. Putting them again changes nothing. Raises DiskFull, NotWritable."""

    def put_file(self, path: Path) -> str:
        """Keep a copy of the file at `path`, read in pieces; return its digest.

        Raises SourceNotFound, ChecksumMismatch (the file changed while it was read), DiskFull, NotWritable.
        """

    def get(self, digest: str) -> bytes:
        """The bytes of that digest. Raises ObjectMissing, ObjectDamaged."""

    def has(self, digest: str) -> bool:
        """Whether there is an object of that name (its bytes are not looked at)."""

    def open_local(self, digest: str) -> Path:
        """A file on this machine holding the bytes, for memory-mapping; it must not be written to.

        Verified once per process, and again where the file has changed. Raises ObjectMissing, ObjectDamaged.
        """

    def require_intact(self, digest: str) -> None:
        """Read and hash the stored bytes now, whatever was verified before. Raises ObjectMissing, ObjectDamaged."""

    def iterate(self) -> Iterator[str]:
        """The digests of all objects, in ascending order; those set aside are not among them."""

    def erase(self, digest: str, why: str) -> None:
        """Delete the bytes and everything that was set aside of them; keep the digest, and why.

        From then on `get`, `open_local`, `require_intact`, `put` and `put_file` raise TraceForgotten for it. Erasing
        again, or what was never here, changes no more than that. Raises DiskFull, NotWritable.
        """


class FolderObjects:
    """Objects as read-only files `ab/cdef…` below `root`.

    Damaged ones are moved to `root/damaged/`; of an erased one, `root/erased/` holds the reason under its digest.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: dict[str, tuple[int, int]] = {}

    def put(self, data: bytes) -> str:
        """Keep `data`; see `ObjectStore.put`."""
        digest = digest_bytes(data)
        self._require_not_erased(digest)
        if not self._holds_intact(digest):
            write_chunks(self._path(digest), [data], mode=_READ_ONLY)
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file; see `ObjectStore.put_file`."""
        digest = _digest_source(path)
        self._require_not_erased(digest)
        if not self._holds_intact(digest):
            write_chunks(self._path(digest), _iter_verified(path, digest), mode=_READ_ONLY)
        return digest

    def get(self, digest: str) -> bytes:
        """Verified bytes; see `ObjectStore.get`."""
        path = self._require(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # another process set it aside between the two calls
            raise _missing(digest) from None
        if digest_bytes(data) != digest:
            raise self._set_aside(digest)
        return data

    def has(self, digest: str) -> bool:
        """Whether the file is there."""
        is_digest = _DIGEST.fullmatch(digest) is not None
        return is_digest and self._path(digest).is_file() and not self._reason_path(digest).exists()

    def open_local(self, digest: str) -> Path:
        """The object's own file, verified; see `ObjectStore.open_local`."""
        path = self._require(digest)
        if self._verified.get(digest) != _stamp(path):
            self.require_intact(digest)
        return path

    def require_intact(self, digest: str) -> None:
        """Hash the file now; see `ObjectStore.require_intact`."""
        path = self._require(digest)
        stamp = _stamp(path)
        if digest_file(path) != digest:
            raise self._set_aside(digest)
        self._verified[digest] = stamp

    def iterate(self) -> Iterator[str]:
        """Digests in ascending order; files that are not objects are passed over."""
        if not self.root.is_dir():
            return
        for folder in sorted(path for path in self.root.iterdir() if _FAN_OUT.fullmatch(path.name)):
            for name in sorted(path.name for path in folder.iterdir()):
                if _DIGEST.fullmatch(folder.name + name):
                    yield folder.name + name

    def erase(self, digest: str, why: str) -> None:
        """Delete the file; see `ObjectStore.erase`. The reason is durable first: killed in between, nothing is readable."""
        write_file(self._reason_path(digest), why.encode("utf-8"))
        path = self._path(digest)
        with translate_write_errors(path):
            for left in (path, self.root / "damaged" / digest, *path.parent.glob(f".{path.name}.*.tmp")):
                left.unlink(missing_ok=True)
        self._verified.pop(digest, None)

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest[2:]

    def _reason_path(self, digest: str) -> Path:
        return self.root / "erased" / digest

    def _require_not_erased(self, digest: str) -> None:
        with suppress(FileNotFoundError):
            raise _erased(digest, self._reason_path(digest).read_text(encoding="utf-8"))

    def _require(self, digest: str) -> Path:
        if _DIGEST.fullmatch(digest) is not None:
            self._require_not_erased(digest)
        if not self.has(digest):
            raise _missing(digest)
        return self._path(digest)

    def _holds_intact(self, digest: str) -> bool:
        """Whether nothing needs to be written. A damaged file of that name is set aside first."""
        if not self.has(digest):
            return False
        try:
            self.open_local(digest)
        except (ObjectDamaged, ObjectMissing):
            return False
        return True

    def _set_aside(self, digest: str) -> ObjectDamaged:
        self._verified.pop(digest, None)
        aside = self.root / "damaged" / digest
        with translate_write_errors(aside):
            aside.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process found the damage too, and was first
                self._path(digest).replace(aside)
        return _damaged(digest, str(aside))


class MemoryObjects:
    """Objects in this process's memory, for tests and short-lived work. Nothing survives the process."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self._damaged: dict[str, bytes] = {}
        self._erased: dict[str, str] = {}
        self._folder: Path | None = None

    def put(self, data: bytes) -> str:
        """Keep `data`; see `ObjectStore.put`."""
        digest = digest_bytes(data)
        self._require_not_erased(digest)
        self._data[digest] = bytes(data)
        return digest

    def put_file(self, path: Path) -> str:
        """Keep the file's bytes; see `ObjectStore.put_file`."""
        digest = _digest_source(path)
        self._require_not_erased(digest)
        self._data[digest] = b"".join(_iter_verified(path, digest))
        return digest

    def get(self, digest: str) -> bytes:
        """Verified bytes; see `ObjectStore.get`."""
        self.require_intact(digest)
        return self._data[digest]

    def has(self, digest: str) -> bool:
        """Whether the bytes are in memory."""
        return digest in self._data

    def open_local(self, digest: str) -> Path:
        """The bytes written to a temporary folder that goes when this object does; see `ObjectStore.open_local`."""
        data = self.get(digest)
        path = self._temporary_folder() / digest
        if not path.exists() or digest_file(path) != digest:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(_READ_ONLY)
        return path

    def require_intact(self, digest: str) -> None:
        """Hash the bytes now; see `ObjectStore.require_intact`."""
        self._require_not_erased(digest)
        if digest not in self._data:
            raise _missing(digest)
        if digest_bytes(self._data[digest]) != digest:
            self._damaged[digest] = self._data.pop(digest)
            raise _damaged(digest, "the memory of this process")

    def iterate(self) -> Iterator[str]:
        """Digests in ascending order."""
        yield from sorted(self._data)

    def erase(self, digest: str, why: str) -> None:
        """Let go of the bytes; see `ObjectStore.erase`."""
        self._erased[digest] = why
        self._data.pop(digest, None)
        self._damaged.pop(digest, None)
        if self._folder is not None:
            (self._folder / digest).unlink(missing_ok=True)

    def _require_not_erased(self, digest: str) -> None:
        if digest in self._erased:
            raise _erased(digest, self._erased[digest])

    def _temporary_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="trainwright-objects-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is rewritten: (mtime in ns, size in bytes). (0, -1), which no file has, once gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


def _digest_source(path: Path) -> str:
    if not path.is_file():
        raise SourceNotFound(
            f"There is no file at {path} to store.",
            next_step="Check the path, and that the file was not moved; run it again.",
        )
    return digest_file(path)


def _iter_verified(path: Path, digest: str) -> Iterator[bytes]:
    """The file's bytes; raises ChecksumMismatch at the end if they are not the ones that were hashed before."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            seen.update(chunk)
            yield chunk
    if seen.hexdigest() != digest:
        raise ChecksumMismatch(
            f"{path} changed while it was being stored.",
            why="Its bytes were not the same when they were read a second time.",
            next_step="Wait until nothing writes to the file any more, then run it again.",
        )


def _missing(digest: str) -> ObjectMissing:
    return ObjectMissing(
        f"There is no object {digest[:12]} in the store.",
        why=f"Nothing with the digest {digest} was ever put there, or it was deleted or set aside as damaged.",
        next_step="Run the stage that makes it again, or restore the workspace's objects from a copy.",
    )


def _erased(digest: str, why: str) -> TraceForgotten:
    return TraceForgotten(
        f"The object {digest[:12]} was erased.",
        why=why,
        next_step="Build the dataset version anew without the trace: trainwright data build NAME@NEXT --from NAME@VERSION",
    )


def _damaged(digest: str, aside: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"The object {digest[:12]} is damaged; it was set aside in {aside}.",
        why=f"Its bytes no longer have the digest {digest} that they are named by.",
        next_step="Run the stage that makes it again, or restore it from a copy; check the disk.",
    )
