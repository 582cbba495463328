"""The ledger as text: a file to which a line is added for every record, every move of a ref, every memo, and nothing else.

    {"at": "…", "digest": "…", "entry": "record", "id": "…", "record": {…}}
    {"at": "…", "digest": "…", "entry": "move", "from": null, "name": "stories@latest", "to": "…", "who": "…", "why": "…"}
    {"digest": "…", "entry": "memo", "key": "…", "record": "…"}

`digest` is the SHA-256 of the rest of its line as canonical JSON, so that every line can be trusted by itself. A line is
durable before the database hears of it: whatever becomes of the database, it can be made again from here.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainwright.core.durable import sync_folder, write_chunks
from trainwright.core.errors import LedgerUnavailable, RecordDamaged, translate_write_errors
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.records import parse_record
from trainwright.store.ledger import Entry, Memo, RefMove, StoredRecord

LOCK_TIMEOUT_S = 30.0
_LOCK_PAUSE_S = 0.02
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Damage:
    """A line that cannot be trusted any more, and why."""

    line: int
    why: str


class LedgerFile:
    """The lines in the file at `path`. Who writes holds `held()`; any number may read meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path.with_suffix(".lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one, of all threads and processes, that writes the file; a killed process lets go by itself.

        Raises LedgerUnavailable where another one does not let go for 30 s, NotWritable, DiskFull.
        """
        with translate_write_errors(self.lock_path):
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self.path.exists()

    def num_bytes(self) -> int:
        """Bytes of whole lines: what a killed writer left of a line that it never finished does not count."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                while end:
                    begin = max(0, end - _TAIL_BYTES)
                    file.seek(begin)
                    newline = file.read(end - begin).rfind(b"\n")
                    if newline >= 0:
                        return begin + newline + 1
                    end = begin
        except FileNotFoundError:
            pass
        return 0

    def append(self, entry: Entry) -> int:
        """Add one line, durably; return how many bytes the file holds then. Raises DiskFull, NotWritable."""
        line = render_line(entry)
        with translate_write_errors(self.path):
            is_new = not self.exists()
            begin = self.num_bytes()
            with self.path.open("ab", buffering=0) as file:
                file.truncate(begin)
                try:
                    written = file.write(line)
                    while written < len(line):  # only a full disk or quota cuts a write to a file short
                        written += file.write(line[written:])
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(begin)
                    raise
            if is_new:
                sync_folder(self.path.parent)
        return begin + len(line)

    def cut(self, num_bytes: int) -> None:
        """Take back what was added after `num_bytes`: it was never said to be on record."""
        with translate_write_errors(self.path):
            os.truncate(self.path, num_bytes)

    def write_out(self, entries: Iterable[Entry]) -> int:
        """Write the whole file anew, in place of what it holds; return its size."""
        write_chunks(self.path, (render_line(entry) for entry in entries))
        return self.num_bytes()

    def iter_lines(self, begin: int = 0) -> Iterator[Entry | Damage]:
        """What each whole line after the first `begin` bytes says. Raises TrainwrightTooOld for a record of unknown kind.

        Lines are numbered from the beginning of the file only where `begin` is 0.
        """
        if not self.exists():
            return
        with self.path.open("rb") as file:
            file.seek(begin)
            num_moves = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                parsed = _parse_line(line, number, num_moves + 1)
                num_moves += isinstance(parsed, RefMove)
                yield parsed

    def iter_entries(self, begin: int = 0) -> Iterator[Entry]:
        """As `iter_lines`, for a file that must be sound. Raises LedgerUnavailable naming the first line that is not."""
        for parsed in self.iter_lines(begin):
            if isinstance(parsed, Damage):
                raise LedgerUnavailable(
                    f"The ledger's file {self.path} is damaged.",
                    why=f"Line {parsed.line}{' of those not taken in yet' * (begin > 0)}: {parsed.why}",
                    next_step="Make the ledger again from what can be read: trainwright store reindex",
                )
            yield parsed

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LedgerUnavailable(
                        f"The ledger {self.path} has been held by another process for {LOCK_TIMEOUT_S:.0f} s.",
                        why=f"It holds {self.lock_path}.",
                        next_step="Find the process that holds the workspace and let it finish; then run it again.",
                    ) from None
                time.sleep(_LOCK_PAUSE_S)


def render_line(entry: Entry) -> bytes:
    """One entry as its line, newline included."""
    document = _describe(entry)
    return canonical_json(document | {"digest": digest_json(document)}) + b"\n"


def _describe(entry: Entry) -> dict[str, Any]:
    match entry:
        case StoredRecord(record, at):
            return {"entry": "record", "at": at, "id": record.id, "record": record.model_dump(mode="json")}
        case RefMove():
            facts = {"name": entry.name, "from": entry.from_id, "to": entry.to_id, "who": entry.who, "why": entry.why}
            return {"entry": "move", "at": entry.at, **facts}
        case Memo(key, record_id):
            return {"entry": "memo", "key": key, "record": record_id}


def _parse_line(line: bytes, number: int, next_move: int) -> Entry | Damage:
    try:
        document = json.loads(line)
        digest = document.pop("digest")
        if digest_json(document) != digest:
            return Damage(number, "Its digest is not that of its content: it was changed after it was written.")
        return _parse_entry(document, next_move)
    except (ValueError, LookupError, TypeError, AttributeError, ValidationError, RecordDamaged) as error:
        return Damage(number, f"It is not an entry of a ledger ({type(error).__name__}).")


def _parse_entry(document: dict[str, Any], next_move: int) -> Entry:
    match document["entry"]:
        case "record":
            return StoredRecord(parse_record(document["record"], document["id"]), document["at"])
        case "move":
            facts = (document[key] for key in ("name", "from", "to", "at", "who", "why"))
            return RefMove(next_move, *facts)
        case "memo":
            return Memo(document["key"], document["record"])
        case other:
            raise ValueError(other)
