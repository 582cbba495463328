"""Files that people labelled: CSV with a header, read strictly."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainwright.core.errors import (
    InvalidEncoding,
    InvalidValue,
    translate_read_errors,
)
from trainwright.core.hashing import digest_bytes
from trainwright.evaluate.rows import invalid_row

MAX_CHARACTERS = 100_000


def read_labelled_rows(path: Path, columns: Sequence[str]) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """The file's digest, and (line, fields) of each row, none of the named columns empty.

    Raises SourceNotFound, SourceUnreadable, InvalidEncoding; InvalidValue for a column that is not there; InvalidRow.
    """
    data = _read_bytes(path)
    try:
        lines = data.decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise InvalidEncoding(
            f"{path.name} is not UTF-8.", why=f"{error.reason} at byte {error.start}.", next_step="Convert it to UTF-8."
        ) from None
    reader = csv.DictReader(lines, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for column in columns:
            if column not in (reader.fieldnames or ()):
                raise InvalidValue(
                    f"{path.name} has no column {column!r}.",
                    why=f"Its columns are {', '.join(reader.fieldnames or ()) or 'none: it is empty'}.",
                    next_step="Name the columns as the file does.",
                )
        for row in reader:
            _require_filled(row, columns, path, reader.line_num)
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise invalid_row(path, reader.line_num, "it is no CSV", f"{error}.") from None
    return digest_bytes(data), rows


def _read_bytes(path: Path) -> bytes:
    with translate_read_errors(path):
        return path.read_bytes()


def _require_filled(row: dict[str, Any], columns: Sequence[str], path: Path, number: int) -> None:
    if None in row or None in row.values():
        raise invalid_row(path, number, "it has more or fewer fields than the header", "Quote texts that hold commas.")
    for column in columns:
        if not row[column].strip():
            raise invalid_row(path, number, f"the column {column} is empty")
        if len(row[column]) > MAX_CHARACTERS:
            raise invalid_row(path, number, f"the column {column} has more than {MAX_CHARACTERS:,} characters")
