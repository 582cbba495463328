"""Files of comma- or tab-separated values and whole JSON documents, with the place of every fault."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidEncoding, InvalidRow, translate_read_errors
from trainwright.evaluate.rows import invalid_row

TableRow = tuple[int, dict[str, str]]
"""(number of the line that the row ends on, {column: text})."""


def iter_table(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[TableRow]:
    """The rows of a table with a heading; the columns that are named must be there.

    Raises SourceNotFound, SourceUnreadable, InvalidEncoding, InvalidRow.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            why = f"There are {', '.join(reader.fieldnames or ()) or 'none'}."
            raise invalid_row(
                path, 1, f"there is no column {missing[0]!r}", why, "Name the file as its authors publish it."
            )
        for row in reader:
            if None in row or None in row.values():
                raise invalid_row(path, reader.line_num, "it has not as many fields as there are columns")
            yield reader.line_num, row
    except csv.Error as error:
        raise invalid_row(path, reader.reader.line_num, "it cannot be read", f"{error}.") from None


def require_field(row: dict[str, Any], name: str, path: Path, place: int | str, choices: Sequence[str] = ()) -> str:
    """A text that is not empty, and one of the choices where there are any. Raises InvalidRow."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise invalid_entry(path, place, f"{name} is {'missing' if value is None else 'not a text, or empty'}")
    if choices and value not in choices:
        raise invalid_entry(path, place, f"{name} is {value!r}", f"It is {' or '.join(choices)}.")
    return value


def read_document(path: Path) -> Any:
    """What a JSON file holds. Raises SourceNotFound, SourceUnreadable, InvalidEncoding, InvalidRow with the line."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise invalid_row(path, error.lineno, "it is not JSON", f"{error.msg}, at character {error.colno}.") from None
    except RecursionError:
        raise InvalidRow(f"{path.name} is nested too deeply.", next_step="Mend the file.") from None


def invalid_entry(path: Path, place: int | str, what: str, why: str = "") -> InvalidRow:
    """The error for an entry of a file: on a line, or, in a document, wherever `place` says."""
    if isinstance(place, int):
        return invalid_row(path, place, what, why)
    return InvalidRow(f"{path.name}, {place}: {what}.", why=why, next_step="Mend the entry.")


def read_text(path: Path) -> str:
    """A file's text. Raises SourceNotFound, SourceUnreadable, InvalidEncoding."""
    try:
        with translate_read_errors(path):
            data = path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidEncoding(
            f"{path.name} is not UTF-8.",
            why=f"{error.reason}: byte 0x{error.object[error.start]:02x} at offset {error.start:,}.",
            next_step="Convert the file to UTF-8.",
        ) from error
