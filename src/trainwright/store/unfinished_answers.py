"""Answers of an evaluation that is not on record yet, so that one that was killed goes on where it stood.

One file for each evaluation, one line for each answer: the SHA-256 of what follows it, and the answer as canonical JSON. A
line that a kill tore, or that is not what its digest says, is left out, and its item is asked again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainwright.core.errors import translate_write_errors
from trainwright.core.hashing import canonical_json, digest_bytes


class UnfinishedAnswers:
    """What `path` holds; answers are appended as they come. Any number of processes may add to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = _read_answers(path)

    def get_or_add(self, item_id: str, answer: Callable[[], Any]) -> Any:
        """The answer that is kept for an item, or the one that `answer` gives, kept. Raises DiskFull, NotWritable."""
        if item_id not in self._found:
            self._found[item_id] = answer()
            self._append(canonical_json([item_id, self._found[item_id]]))
        return self._found[item_id]

    def discard(self) -> None:
        """Remove the file: its answers are on record."""
        self.path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        with translate_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # The line end comes first as well, so that a line is whole even after one that was torn.
                file.write(b"\n" + digest_bytes(data).encode() + b" " + data + b"\n")


def _read_answers(path: Path) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if not path.exists():
        return answers
    for line in path.read_bytes().splitlines():
        digest, _, data = line.partition(b" ")
        if digest_bytes(data) == digest.decode("ascii", errors="replace"):
            item_id, answer = json.loads(data)
            answers[item_id] = answer
    return answers
