"""JSON objects, one a line: reading what a person wrote, with the line of every fault, and writing canonical ones."""

import difflib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidEncoding, InvalidRow, translate_read_errors
from trainwright.core.hashing import canonical_json
from trainwright.core.records import Frozen

Row = tuple[int, dict[str, Any]]
"""(number of the line, what stands on it)."""


def iter_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSONL file; blank lines are passed over.

    Raises SourceNotFound, SourceUnreadable, InvalidEncoding, and InvalidRow with the line that is no JSON object.
    """
    for number, line in enumerate(_iter_lines(path), start=1):
        if line.strip():
            yield number, _parse_row(line, path, number)


def invalid_row(path: Path, number: int, what: str, why: str = "", next_step: str = "Mend the line.") -> InvalidRow:
    """The error for a line of a file."""
    return InvalidRow(f"{path.name}, line {number}: {what}.", why=why, next_step=next_step)


def require_known_keys(row: dict[str, Any], known: Collection[str], path: Path, number: int) -> None:
    """Raises InvalidRow for a key that means nothing, with the nearest one that does."""
    for key in row:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            why = f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(known)}."
            raise invalid_row(path, number, f"there is no key {key!r}", why, "Mend the key, or put it under meta.")


def render_rows(rows: Iterable[Frozen | dict[str, Any]]) -> bytes:
    """Canonical JSON, one document a line: equal rows give equal bytes."""
    documents = (row.model_dump(mode="json") if isinstance(row, Frozen) else row for row in rows)
    return b"".join(canonical_json(document) + b"\n" for document in documents)


def _iter_lines(path: Path) -> Iterator[str]:
    try:
        with translate_read_errors(path), path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEncoding(
            f"{path.name} is not UTF-8.",
            why=f"{error.reason}: byte 0x{error.object[error.start]:02x} in line {number}.",
            next_step="Convert the file to UTF-8.",
        ) from error


def _parse_row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
        row_text = json.dumps(row, ensure_ascii=False)
        row_text.encode("utf-8")
    except json.JSONDecodeError as error:
        raise invalid_row(path, number, "it is not JSON", f"{error.msg}, at character {error.colno}.") from None
    except UnicodeEncodeError:
        raise invalid_row(path, number, "it holds half a character (a lone surrogate)") from None
    except (ValueError, RecursionError) as error:
        raise invalid_row(path, number, "it cannot be read", f"{error}.") from None
    if not isinstance(row, dict):
        raise invalid_row(path, number, "it is not a JSON object")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
