"""The form of evidence: a folder, or the same as one zip file, whose every file is listed with its digest.

`SHA256SUMS` is as `sha256sum --check` reads it. Equal contents give equal bytes, whenever and wherever they are written.
"""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from trainwright.core.durable import write_chunks, write_folder
from trainwright.core.errors import EvidenceUnreadable, translate_write_errors
from trainwright.release.verification import TrustCheck

SUMS_FILE = "SHA256SUMS"
INDEX_FILE = "evidence.json"
FORMAT = 1
MAX_EXPANSION = 200
"""How many times the size of a zip file its content may have; tables of scores, compressed, come to some twenty."""
_CHUNK_BYTES = 1 << 20
_FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file can hold: files in it have no time of their own."""

Content = bytes | Path
"""What a file holds: these bytes, or those of that file."""


def write_evidence(contents: Mapping[str, Content], output: Path, *, replace: bool) -> None:
    """Write {relative path: content} and their digests to a folder, or, where its name ends in .zip, to a file.

    Whole or not at all. Raises DiskFull, NotWritable.
    """
    if output.suffix.lower() == ".zip":
        _write_zip(contents, output)
        return
    with write_folder(output.resolve(), replace=replace) as folder:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
        (folder / SUMS_FILE).write_bytes(render_sums(folder))


def render_sums(folder: Path) -> bytes:
    """A line "digest  path" for every file below `folder` but the list itself, by path."""
    names = sorted(name for name in _list_files(folder) if name != SUMS_FILE)
    return "".join(f"{_digest(folder / name)}  {name}\n" for name in names).encode()


def _write_zip(contents: Mapping[str, Content], output: Path) -> None:
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile() as packed:
        folder = Path(place) / "evidence"
        write_evidence(contents, folder, replace=False)
        # Stored, not compressed: another version of the compressor would give other bytes.
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(_list_files(folder)):
                entry = zipfile.ZipInfo(name, _FIRST_MOMENT)
                entry.external_attr = 0o644 << 16
                entry.create_system = 3
                with (folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, _CHUNK_BYTES)
        packed.seek(0)
        write_chunks(output, iter(lambda: packed.read(_CHUNK_BYTES), b""))


@contextmanager
def open_evidence(path: Path) -> Iterator[Path]:
    """The evidence at `path` as a folder; a zip file is unpacked for as long as the block lasts.

    Raises EvidenceUnreadable where it is neither, is cut or damaged, or lacks its index or its digests.
    """
    if path.is_dir():
        yield _require_complete(path, path)
        return
    with tempfile.TemporaryDirectory() as place:
        try:
            with zipfile.ZipFile(path) as archive:
                _require_moderate(archive, path)
                for name in archive.namelist():
                    _require_inside(name, path)
                    with translate_write_errors(Path(place)):
                        archive.extract(name, place)
        except FileNotFoundError:
            raise _unreadable(path, "It is not there.") from None
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise _unreadable(path, f"It cannot be unpacked: {error}.") from error
        yield _require_complete(Path(place), path)


def check_sums(folder: Path, where: Path) -> tuple[list[TrustCheck], dict[str, Path]]:
    """Rows for what is not as listed (one row for all that is), and {digest: file} of what is.

    Every file is hashed before anything is parsed. Raises EvidenceUnreadable where the list itself is none, naming `where`.
    """
    listed = _parse_sums(folder / SUMS_FILE, where)
    present = _list_files(folder) - {SUMS_FILE}
    problems = dict.fromkeys(listed.keys() - present, "it is missing")
    problems |= dict.fromkeys(present - listed.keys(), "it is not listed")
    intact: dict[str, Path] = {}
    for name in sorted(listed.keys() & present):
        if _digest(folder / name) == listed[name]:
            intact[listed[name]] = folder / name
        else:
            problems[name] = "its bytes have changed"
    rows = [TrustCheck(name=name, passed=False, why=problems[name]) for name in sorted(problems)]
    whole = TrustCheck(name="digests", passed=not problems, why=f"{len(intact)} of {len(listed)} files are as listed")
    return [whole, *rows], intact


def _parse_sums(path: Path, where: Path) -> dict[str, str]:
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not name:
            raise _unreadable(where, f"Line {number} of {SUMS_FILE} is no digest and name.")
        _require_inside(name, where)
        listed[name] = digest
    return listed


def _list_files(folder: Path) -> set[str]:
    """Names relative to `folder`; a link is listed too, and has the digest of nothing."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


def _digest(path: Path) -> str:
    if path.is_symlink():  # evidence is what lies in it, not what it points to
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_moderate(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises EvidenceUnreadable where a small file would become a very large folder."""
    num_packed, num_bytes = path.stat().st_size, sum(entry.file_size for entry in archive.infolist())
    if num_bytes > MAX_EXPANSION * num_packed:
        raise _unreadable(path, f"Its {num_packed:,} bytes would become {num_bytes:,}: no evidence packs so well.")


def _require_inside(name: str, where: Path) -> None:
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
        raise _unreadable(where, f"It names a file outside itself: {name!r}.")


def _require_complete(folder: Path, where: Path) -> Path:
    for name in (SUMS_FILE, INDEX_FILE):
        if not (folder / name).is_file():
            raise _unreadable(where, f"There is no {name} in it.")
    return folder


def _unreadable(path: Path, why: str) -> EvidenceUnreadable:
    return EvidenceUnreadable(
        f"{path} is no evidence that can be read.",
        why=why,
        next_step="Write it anew from the workspace: trainwright release evidence NAME@STAGE --output FOLDER",
    )
