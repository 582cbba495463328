"""Writing files so that a reader, or a killed writer, never sees half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright.core.errors import translate_write_errors


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut (a no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder; there the rename itself is journaled
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole: a temporary file beside it, fsync, rename.

    Raises DiskFull or NotWritable; the old content of `path` is then still there.
    """
    write_chunks(path, [data])


def write_chunks(path: Path, chunks: Iterable[bytes], mode: int = 0o644) -> None:
    """Like `write_file`, for content that comes in pieces. Where `chunks` raises, `path` is left as it was."""
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary_name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(temporary_name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)  # mkstemp makes 0600, which would keep other users from reading artefacts
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def write_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path`, whole, when the block ends without an error.

    Every file in it is fsynced before the rename. Unless `replace` is set, `path` must not exist (or be an empty folder);
    with it, what was there is removed once the new folder stands. Raises DiskFull or NotWritable; nothing of the
    half-written folder stays.
    """
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
                else:
                    sync_folder(file)
            sync_folder(temporary)
            _put_in_place(temporary, path, replace=replace)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def _put_in_place(temporary: Path, path: Path, *, replace: bool) -> None:
    if not replace or not path.exists():
        temporary.replace(path)
        return
    aside = temporary.with_suffix(".old")
    path.replace(aside)
    try:
        temporary.replace(path)
    except BaseException:
        aside.replace(path)
        raise
    shutil.rmtree(aside)
