"""From a file on disk to lines of text that know which document they belong to.

What is changed on the way, and counted in `Cleaning`: a byte-order mark is dropped, CRLF becomes LF, documents without
a single visible character are dropped. Nothing else: every other character, newlines included, arrives as written.

    name          becomes
    x.jsonl       one document a row (`text_field` of a JSON object); also .ndjson
    x.parquet     one document a row (`text_field` names a string column)
    anything else one document, or several where lines that are exactly `<|endoftext|>` stand between them
    x.gz, x.zst   the same, after decompression (not for Parquet, which compresses inside)
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainwright.core.errors import InvalidEncoding, InvalidRow, NotText, SourceUnreadable

READER_VERSION = 1
"""Grows whenever the same bytes would be read as other text."""

DOCUMENT_SEPARATOR = "<|endoftext|>"
"""A line that holds exactly this ends a document in plain text."""

Line = tuple[int, str]
"""(number of the document within its file, one line of it with its newline)."""

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 4096
_MAX_REPORTED_ROWS = 5

_MAGIC_NUMBERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"GIF87a", "a GIF image", ""),
    (b"GIF89a", "a GIF image", ""),
    (b"%PDF-", "a PDF document", "Extract its text first, for example: pdftotext {name} text.txt"),
    (b"PK\x03\x04", "a ZIP archive (or an office document or e-book, which are ZIP inside)", "Unpack it first."),
    (b"\x1f\x8b", "gzip data", "Give the file a name that ends in .gz."),
    (b"\x28\xb5\x2f\xfd", "Zstandard data", "Give the file a name that ends in .zst."),
    (b"BZh91AY&SY", "bzip2 data", "Unpack it first: bunzip2 {name}"),
    (b"\xfd7zXZ\x00", "xz data", "Unpack it first: unxz {name}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it first."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it first."),
    (b"PAR1", "a Parquet file", "Give the file a name that ends in .parquet (not compressed again)."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the text first."),
    (b"\x7fELF", "a program (ELF)", ""),
    (b"OggS", "Ogg audio", ""),
    (b"ID3", "MP3 audio", ""),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", ""),
    (b"\x80\x04\x95", "a Python pickle", ""),
)


@dataclass
class Cleaning:
    """What reading changed, counted."""

    num_byte_order_marks: int = 0
    num_crlf: int = 0
    num_blank_rows: int = 0
    num_empty_documents: int = 0

    def as_document(self) -> dict[str, int]:
        """The counts by name, for a recipe."""
        return asdict(self)


@dataclass(frozen=True)
class Format:
    """How a file is to be read, from its name alone."""

    kind: Literal["text", "jsonl", "parquet"]
    compression: Literal["", "gzip", "zstd"]

    @property
    def has_rows(self) -> bool:
        """True where `text_field` matters."""
        return self.kind != "text"


def identify_format(name: str) -> Format:
    """The format that a file's name stands for."""
    stem, compression = name.lower(), ""
    for suffix, method in ((".gz", "gzip"), (".zst", "zstd")):
        if stem.endswith(suffix):
            stem, compression = stem.removesuffix(suffix), method
    kind = "jsonl" if stem.endswith((".jsonl", ".ndjson")) else "parquet" if stem.endswith(".parquet") else "text"
    return Format(kind=kind, compression=compression)  # type: ignore[arg-type]


def iter_lines(path: Path, name: str, text_field: str, cleaning: Cleaning) -> Iterator[Line]:
    """The lines of every document of a file, in order. `name` chooses the format and stands in error messages.

    Raises SourceUnreadable, NotText, InvalidEncoding, InvalidRow.
    """
    form = identify_format(name)
    if form.kind == "parquet":
        if form.compression:
            raise NotText(
                f"{name} is a compressed Parquet file.",
                why="Parquet is read from its end and compresses inside; no second compression can be read through.",
                next_step="Decompress it and give the .parquet file.",
            )
        return _split_rows(_iter_parquet_texts(path, name, text_field), cleaning)
    pieces = iter_pieces(path, name, form)
    if form.kind == "jsonl":
        return _split_rows(
            _iter_jsonl_texts(_iter_text(pieces, name, cleaning, fold_crlf=False), name, text_field, cleaning), cleaning
        )
    return _iter_plain_lines(_iter_text(pieces, name, cleaning, fold_crlf=True), cleaning)


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def iter_pieces(path: Path, name: str, form: Format) -> Iterator[bytes]:
    """The bytes of a file, decompressed, a piece at a time. Raises SourceUnreadable."""
    try:
        if form.compression == "gzip":
            yield from _iter_gzip(path)
        elif form.compression == "zstd":
            yield from _iter_zstd(path, name)
        else:
            with path.open("rb") as file:
                while piece := file.read(_CHUNK_BYTES):
                    yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(name, "gzip", str(error)) from error
    except OSError as error:
        raise SourceUnreadable(
            f"{name} cannot be read.",
            why=f"The operating system said: {error.strerror or error}.",
            next_step="Check that the file is there and that you may read it.",
        ) from error


def _iter_gzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def _iter_zstd(path: Path, name: str) -> Iterator[bytes]:
    """Decompress frame by frame: unlike the library's stream reader, this notices a file that was cut."""
    import zstandard

    # The default window limit refuses files made with `zstd --long`.
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
    with path.open("rb") as file:
        frame: Any = None
        try:
            while compressed := file.read(_CHUNK_BYTES):
                while compressed:
                    frame = frame or decompressor.decompressobj()
                    if piece := frame.decompress(compressed):
                        yield piece
                    compressed = frame.unused_data if frame.eof else b""
                    frame = None if frame.eof else frame
        except zstandard.ZstdError as error:
            raise _damaged(name, "Zstandard", str(error)) from error
        if frame is not None:
            raise _damaged(name, "Zstandard", "the data ended in the middle of a frame")


def _damaged(name: str, method: str, detail: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{name} is not a whole {method} file.",
        why=f"{detail[:1].upper()}{detail[1:].rstrip('.')}.",
        next_step="Fetch or compress the file again.",
    )


# ── bytes to text ─────────────────────────────────────────────────────────────────────────────────────────────────────
def describe_binary(head: bytes, name: str) -> tuple[str, str] | None:
    """(what the bytes look like, what to do) where a file that begins with `head` is not text, else None."""
    for magic, description, advice in _MAGIC_NUMBERS:
        if head.startswith(magic):
            return description, advice.format(name=name) or "Give a text file."
    if head[257:262] == b"ustar":
        return "a tar archive", f"Unpack it first: tar xf {name}"
    if b"\x00" in head and guess_wide_encoding(head) is None:
        return f"binary data (a NUL byte at offset {head.index(0)})", "Give a text file in UTF-8."
    return None


def guess_wide_encoding(head: bytes) -> str | None:
    """The iconv name of a UTF-16 or UTF-32 encoding that `head` seems to be in, or None."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = head[:4096]
    if len(sample) < 8:
        return None
    # English in UTF-16 has a NUL in nearly every second byte, always on the same side.
    even, odd = sample[0::2].count(0) / len(sample[0::2]), sample[1::2].count(0) / len(sample[1::2])
    if odd > 0.6 and even < 0.05:
        return "utf-16le"
    if even > 0.6 and odd < 0.05:
        return "utf-16be"
    return None


def _iter_text(pieces: Iterable[bytes], name: str, cleaning: Cleaning, *, fold_crlf: bool) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset, held = 0, ""
    for piece in _with_whole_head(pieces):
        if offset == 0:
            _require_text(piece, name)
            if piece.startswith(codecs.BOM_UTF8):
                cleaning.num_byte_order_marks += 1
                piece, offset = piece[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        if b"\x00" in piece:
            raise _not_text(
                name, f"binary data (a NUL byte at offset {offset + piece.index(0)})", "Give a text file in UTF-8."
            )
        text = held + _decode(decoder, piece, offset, name, final=False)
        offset += len(piece)
        held = ""
        if fold_crlf:
            # A carriage return at the end waits for the next piece, which may begin with its newline.
            if text.endswith("\r"):
                text, held = text[:-1], "\r"
            cleaning.num_crlf += text.count("\r\n")
            text = text.replace("\r\n", "\n")
        yield text
    tail = held + _decode(decoder, b"", offset, name, final=True)
    if tail:
        yield tail


def _with_whole_head(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes with a first piece long enough to be recognised (a decompressor may begin with a single byte)."""
    head: bytes | None = b""
    for piece in pieces:
        if head is None:
            yield piece
        elif len(head) + len(piece) < _HEAD_BYTES:
            head += piece
        else:
            yield head + piece
            head = None
    if head:
        yield head


def _require_text(head: bytes, name: str) -> None:
    if (binary := describe_binary(head[: 1 << 16], name)) is not None:
        raise _not_text(name, *binary)
    if (wide := guess_wide_encoding(head)) is not None:
        raise InvalidEncoding(
            f"{name} is not UTF-8: at byte offset 0 it begins like {wide.upper()}.",
            why="Text is read as UTF-8 and never guessed, so that no character is silently changed.",
            next_step=f"Convert it: iconv -f {wide} -t utf-8 {name} > utf8.txt",
        )


def _not_text(name: str, description: str, advice: str) -> NotText:
    return NotText(f"{name} is not text.", why=f"It looks like {description}.", next_step=advice)


def _decode(decoder: codecs.IncrementalDecoder, piece: bytes, offset: int, name: str, *, final: bool) -> str:
    num_waiting = len(decoder.getstate()[0])  # bytes of a character that the piece before cut in two
    try:
        return decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        position = offset - num_waiting + error.start
        raise _invalid_encoding(name, position, error) from error


def _invalid_encoding(name: str, position: int, error: UnicodeDecodeError) -> InvalidEncoding:
    byte = error.object[error.start]
    if error.reason == "unexpected end of data":
        advice = "The file seems to be cut in the middle of a character: fetch or copy it again."
    else:
        # 0x80-0x9F are unused control codes in Latin-1 but curly quotes and dashes in Windows' variant of it.
        guess, iconv = ("Windows-1252", "cp1252") if 0x80 <= byte <= 0x9F else ("Latin-1", "latin1")
        advice = f"It may be {guess}; then convert it: iconv -f {iconv} -t utf-8 {name} > utf8.txt"
    return InvalidEncoding(
        f"{name} is not UTF-8: byte 0x{byte:02x} at byte offset {position} ({error.reason}).",
        why="Text is read as UTF-8 and never guessed, so that no character is silently changed."
        + (" The offset counts bytes after decompression." if identify_format(name).compression else ""),
        next_step=advice,
    )


# ── text to lines of documents ────────────────────────────────────────────────────────────────────────────────────────
def _iter_raw_lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their "\\n". Only "\\n" ends a line: str.splitlines would also cut at rarer characters."""
    parts: list[str] = []
    for text in texts:
        *complete, rest = text.split("\n")
        if complete:
            yield "".join((*parts, complete[0], "\n"))
            parts.clear()
            for line in complete[1:]:
                yield line + "\n"
        if rest:
            parts.append(rest)
    if parts:
        yield "".join(parts)


def _iter_plain_lines(texts: Iterable[str], cleaning: Cleaning) -> Iterator[Line]:
    number, has_text = 0, False
    blank: list[str] = []  # lines that are only kept if something visible follows in the same document
    for line in _iter_raw_lines(texts):
        if line.strip() == DOCUMENT_SEPARATOR:
            cleaning.num_empty_documents += int(not has_text and bool(blank))
            number, has_text, blank = number + 1, False, []
        elif has_text:
            yield number, line
        elif line.isspace():
            blank.append(line)
        else:
            has_text = True
            yield from ((number, waiting) for waiting in blank)
            blank = []
            yield number, line
    cleaning.num_empty_documents += int(not has_text and bool(blank))


def _split_rows(texts: Iterable[str], cleaning: Cleaning) -> Iterator[Line]:
    for number, text in enumerate(texts):
        cleaning.num_crlf += text.count("\r\n")
        text = text.replace("\r\n", "\n")
        if not text or text.isspace():
            cleaning.num_empty_documents += 1
            continue
        for line in _iter_raw_lines([text]):
            yield number, line


@dataclass
class _RowProblems:
    """Bad rows, gathered so that one error names the first few of them and not only the first."""

    name: str
    text_field: str
    found: list[str] = field(default_factory=list)

    def add(self, number: int, problem: str) -> None:
        self.found.append(f"{self.name}:{number}: {problem}")
        if len(self.found) >= _MAX_REPORTED_ROWS:
            self.require_none(stopped=True)

    def require_none(self, *, stopped: bool = False) -> None:
        if not self.found:
            return
        more = " (reading stopped here; there may be more)" if stopped else ""
        raise InvalidRow(
            f"{self.found[0]}.",
            why="" if len(self.found) == 1 else f"Also: {'; '.join(self.found[1:])}{more}.",
            next_step=f"Mend or remove the rows, or name the field: data.text_field=… (now {self.text_field!r}).",
        )


def _iter_jsonl_texts(texts: Iterable[str], name: str, text_field: str, cleaning: Cleaning) -> Iterator[str]:
    problems = _RowProblems(name, text_field)
    for number, line in enumerate(_iter_raw_lines(texts), start=1):
        if line.isspace():
            cleaning.num_blank_rows += 1
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add(number, f"not JSON ({error.msg}, column {error.colno})")
            continue
        except RecursionError:
            problems.add(number, "JSON nested too deeply")
            continue
        problem = _check_row(row, text_field)
        if problem:
            problems.add(number, problem)
        elif not problems.found:
            yield row[text_field]
    problems.require_none()


def _check_row(row: object, text_field: str) -> str:
    if not isinstance(row, dict):
        return f"a JSON {_json_type(row)} where an object was expected"
    if text_field not in row:
        fields = ", ".join(repr(key) for key in list(row)[:8])
        return f"no field {text_field!r} (it has {fields or 'no fields'})"
    value = row[text_field]
    if not isinstance(value, str):
        return f"the field {text_field!r} is a {_json_type(value)}, not a string"
    return _check_text(value)


def _check_text(text: str) -> str:
    if "\x00" in text:
        return "its text holds a NUL character"
    if re.search("[\ud800-\udfff]", text):
        return "its text holds half of a surrogate pair, which UTF-8 cannot"
    return ""


def _json_type(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _iter_parquet_texts(path: Path, name: str, text_field: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    problems = _RowProblems(name, text_field)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _require_text_column(file.schema_arrow, name, text_field)
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=[text_field]):
                for value in _read_column(batch.column(0), name, number):
                    number += 1
                    problem = "the text is null" if value is None else _check_text(value)
                    if problem:
                        problems.add(number, problem)
                    elif value is not None and not problems.found:
                        yield value
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceUnreadable(
            f"{name} is not a whole Parquet file.",
            why=f"{' '.join(str(error).split())[:200].rstrip('.')}.",
            next_step="Fetch or write the file again.",
        ) from error
    problems.require_none()


def _require_text_column(schema: Any, name: str, text_field: str) -> None:
    import pyarrow.types

    if text_field not in schema.names:
        raise InvalidRow(
            f"{name} has no column {text_field!r}.",
            why=f"Its columns are {', '.join(schema.names)}.",
            next_step="Name the column that holds the text: data.text_field=…",
        )
    column_type = schema.field(text_field).type
    if not (pyarrow.types.is_string(column_type) or pyarrow.types.is_large_string(column_type)):
        raise InvalidRow(
            f"The column {text_field!r} of {name} holds {column_type}, not strings.",
            next_step="Name a column of strings: data.text_field=…",
        )


def _read_column(column: Any, name: str, num_rows_before: int) -> list[str | None]:
    try:
        values: list[str | None] = column.to_pylist()
    except UnicodeDecodeError as error:
        raise InvalidEncoding(
            f"{name} holds text that is not UTF-8, in rows {num_rows_before + 1}–{num_rows_before + len(column)}.",
            why=f"{error.reason}: byte 0x{error.object[error.start]:02x} at offset {error.start} of a value.",
            next_step="Write the Parquet file again from text in UTF-8.",
        ) from error
    return values
