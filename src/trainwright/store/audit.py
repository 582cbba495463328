"""Who asked for which change through the service, and how that ended: lines of a file, each chained to the one before.

    {"seq": 3, "at": …, "before": DIGEST OF LINE 2, "entry": {…}, "digest": …}

`digest` is over everything else in the line, so a line that is changed, taken out or put in between breaks the chain there
and `check` says where. Lines cut off at the end cannot be seen in the file itself: keep the last digest elsewhere to see that.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainwright.core.errors import AuditDamaged, translate_write_errors
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.store.ledger import read_clock

AUDIT_FILE = "audit.jsonl"
FIRST = "0" * 64
_TAIL_BYTES = 1 << 16


class AuditLog:
    """The log at `path`. Any number of processes append to it, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Mapping[str, Any]) -> int:
        """Add an entry, durably; its number. Raises DiskFull, NotWritable, AuditDamaged (the last line is none)."""
        with translate_write_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                seq, before = self._read_end(file)
                file.write(_render_line(seq, before, entry))
                file.flush()
                os.fsync(file.fileno())
        return seq

    def iter_lines(self) -> Iterator[dict[str, Any]]:
        """Every line, checked against the one before. Raises AuditDamaged at the first that does not follow."""
        seq, before = 0, FIRST
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written, or torn by a kill: it was never answered to anybody
                document = _parse_line(line)
                if document is None or document.get("seq") != seq or document.get("before") != before:
                    raise self._damaged(seq)
                yield document
                seq, before = seq + 1, str(document["digest"])

    def check(self) -> tuple[int, str]:
        """(number of lines, digest of the last) of an unbroken log. Raises AuditDamaged."""
        seq, digest = 0, FIRST
        for document in self.iter_lines():
            seq, digest = document["seq"] + 1, document["digest"]
        return seq, digest

    def _read_end(self, file: Any) -> tuple[int, str]:
        """What the next line follows. A torn last line is cut off: nobody was told that it was written."""
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        file.seek(start + len(whole))
        file.truncate()
        if not whole:
            if start:
                raise self._damaged(None)
            return 0, FIRST
        document = _parse_line(whole.rstrip(b"\n").rpartition(b"\n")[2] + b"\n")
        if document is None:
            raise self._damaged(None)
        return document["seq"] + 1, document["digest"]

    def _damaged(self, seq: int | None) -> AuditDamaged:
        return AuditDamaged(
            f"The audit log {self.path} was changed{'' if seq is None else f' at line {seq + 1}'}.",
            why="The line does not follow from the one before it, or is not what its digest says.",
            next_step="Keep the file as it is for whoever looks into it; move it away to begin a new one.",
        )


def _render_line(seq: int, before: str, entry: Mapping[str, Any]) -> bytes:
    document = {"seq": seq, "at": read_clock(), "before": before, "entry": dict(entry)}
    return canonical_json(document | {"digest": digest_bytes(canonical_json(document))}) + b"\n"


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
        if not isinstance(document, dict) or not isinstance(document.get("seq"), int):
            return None
        digest = document.get("digest")
        rest = {key: value for key, value in document.items() if key != "digest"}
        return document if digest == digest_bytes(canonical_json(rest)) else None
    except ValueError:
        return None
