"""Records out of files, one at a time, each with the number by which a person finds it again.

    x.jsonl, x.ndjson, stdin   one record a line; a bad line costs that line
    x.json                     one record, a list of them, or several one after the other; after a syntax error the rest
                               of the file is lost, and that is said
    x.parquet                  one record a row
    x.gz, x.zst                the same, after decompression

Nothing is held but the record at hand: a line of more than 1 MiB is passed over, never gathered.
"""

import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidTrace, SourceNotFound, SourceUnreadable, TrainwrightError
from trainwright.core.traces import MAX_PAYLOAD_BYTES, require_payload
from trainwright.data.reading import Format, identify_format, iter_pieces

STDIN = "-"
_CHUNK_BYTES = 1 << 20
_MAX_VALUE_CHARACTERS = 64 << 20
"""How far a value is looked for; over 1 MiB it is passed over, and the next one is read."""
_JSON_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Row:
    """One record of a file: its line (or number, from 1), and the document or what is wrong with it."""

    number: int
    unit: str
    document: Any = None
    error: TrainwrightError | None = None


def iter_rows(name: str) -> Iterator[Row]:
    """The records of a file, or of standard input for `-`. Raises SourceNotFound, SourceUnreadable."""
    if name == STDIN:
        return _iter_stdin()
    path = Path(name)
    if not path.is_file():
        raise SourceNotFound(
            f"There is no file {name}.",
            why=f"{name} is a folder." if path.is_dir() else "Nothing of that name exists.",
            next_step="Check the path; - reads standard input.",
        )
    form = identify_format(name)
    if form.kind == "parquet":
        return _iter_parquet(path, name)
    pieces = iter_pieces(path, name, form)
    return _iter_json_values(pieces) if _holds_json_values(name, form) else _iter_jsonl(pieces)


def _holds_json_values(name: str, form: Format) -> bool:
    stem = name.lower().removesuffix(".gz").removesuffix(".zst")
    return form.kind != "jsonl" and stem.endswith(".json")


def _iter_stdin() -> Iterator[Row]:
    pieces = iter(lambda: sys.stdin.buffer.read(_CHUNK_BYTES), b"")
    first = next(pieces, b"")

    def all_pieces() -> Iterator[bytes]:
        yield first
        yield from pieces

    is_list = first.lstrip().startswith(b"[")
    return _iter_json_values(all_pieces()) if is_list else _iter_jsonl(all_pieces())


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _iter_jsonl(pieces: Iterable[bytes]) -> Iterator[Row]:
    for number, (line, num_bytes) in enumerate(_iter_bounded_lines(pieces), start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if num_bytes > MAX_PAYLOAD_BYTES:
            yield _too_large(number, "line", num_bytes)
        elif line.strip():
            yield _parse_line(number, line)


def _iter_bounded_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """(line without its newline, its length). Of a line that is too long, the length alone is true."""
    held, num_passed_over = b"", 0
    for piece in pieces:
        lines = (held + piece).split(b"\n")
        held = lines.pop()
        for line in lines:
            yield line, len(line) + num_passed_over
            num_passed_over = 0
        if len(held) > MAX_PAYLOAD_BYTES:
            num_passed_over += len(held)
            held = b""
    if held or num_passed_over:
        yield held, len(held) + num_passed_over


def _parse_line(number: int, line: bytes) -> Row:
    try:
        return Row(number, "line", json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Row(number, "line", error=_not_json(f"byte {error.start} of it is not UTF-8"))
    except RecursionError:
        return Row(number, "line", error=_not_json("it is nested too deeply"))
    except ValueError as error:
        return Row(number, "line", error=_not_json(f"{error}"))


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _iter_json_values(pieces: Iterable[bytes]) -> Iterator[Row]:
    """Values one after the other, those of a list that stands at the top one by one."""
    values = _Values(pieces)
    number = 0
    try:
        for document, num_bytes in values:
            number += 1
            yield (
                _too_large(number, "record", num_bytes)
                if num_bytes > MAX_PAYLOAD_BYTES
                else Row(number, "record", document)
            )
    except UnicodeDecodeError as error:
        yield Row(number + 1, "record", error=_not_json(f"{error.reason}: it is not UTF-8; what follows was not read"))
    except RecursionError:
        yield Row(number + 1, "record", error=_not_json("it is nested too deeply; what follows was not read"))
    except ValueError as error:
        yield Row(number + 1, "record", error=_not_json(f"{error}; what follows was not read"))


class _Values:
    """JSON values out of a stream of bytes, with no more in memory than one value and one piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._texts = codecs.iterdecode(pieces, "utf-8-sig")
        self._text = ""
        self._at = 0  # what lies before was taken
        self._is_at_end = False
        self._decoder = json.JSONDecoder()

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        in_list = False
        while self._skip_space():
            head = self._text[self._at]
            if head == "[" and not in_list:
                in_list, self._at = True, self._at + 1
            elif head in ",]" and in_list:
                in_list, self._at = head == ",", self._at + 1
            else:
                yield self._take_value()
        if in_list:
            raise ValueError("the list is not closed")

    def _skip_space(self) -> bool:
        """Stand at the beginning of something; False at the end of the file."""
        while True:
            match = _JSON_SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return True
            if not self._read_on(1):
                return False

    def _take_value(self) -> tuple[Any, int]:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._read_on(len(self._text) - self._at):
                    raise
                continue
            if end == len(self._text) and self._read_on(1):  # a number may go on in the next piece
                continue
            num_bytes = len(self._text[self._at : end].encode("utf-8", "surrogatepass"))
            self._at = end
            return value, num_bytes

    def _read_on(self, num_characters: int) -> bool:
        """Hold at least so many more characters, or all that there are; False where nothing is left.

        A value that is not whole is tried again at twice its length, so that a long one costs no more than twice itself.
        """
        if len(self._text) - self._at > _MAX_VALUE_CHARACTERS:
            raise ValueError(f"it goes on for more than {_MAX_VALUE_CHARACTERS:,} characters")
        gained = [self._text[self._at :]]
        wanted = len(gained[0]) + num_characters
        length = len(gained[0])
        while length < wanted and not self._is_at_end:
            text = next(self._texts, None)
            self._is_at_end = text is None
            gained.append(text or "")
            length += len(gained[-1])
        has_gained = length > len(gained[0])
        self._text, self._at = "".join(gained), 0
        return has_gained


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _iter_parquet(path: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=100):
                for document in batch.to_pylist():
                    number += 1
                    yield Row(number, "row", _restore_parquet(document))
    except (pa.ArrowException, OSError) as error:
        raise SourceUnreadable(
            f"{name} cannot be read as Parquet.",
            why=f"{' '.join(str(error).split())}.",
            next_step="Write the file again, or give the records as JSONL.",
        ) from error


def _restore_parquet(document: dict[str, Any]) -> dict[str, Any]:
    """A row as the record it was: a column without a value is a key that is not there, and our own `meta` is JSON."""
    record = {key: value for key, value in document.items() if value is not None}
    if "kind" in record and "id" in record and "split" in record:  # what `data export --format parquet` writes
        record = {key: value for key, value in record.items() if key not in ("kind", "id", "split")}
        if isinstance(record.get("meta"), str):
            record["meta"] = json.loads(record["meta"])
    return record


def _too_large(number: int, unit: str, num_bytes: int) -> Row:
    try:
        require_payload(num_bytes)
    except InvalidTrace as error:
        return Row(number, unit, error=error)
    raise AssertionError("only called for what is too large")


def _not_json(what: str) -> InvalidTrace:
    return InvalidTrace(
        f"This is not a JSON record: {what}.",
        why="Every record is one JSON object in UTF-8.",
        next_step="Correct it, or take the others with --on-error skip.",
    )
