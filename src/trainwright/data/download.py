"""Fetching a file over HTTP so that nothing half-written is ever used.

    folder/<sha256 of the URL>/
        NAME            the file, whole and verified
        meta.json       {url, name, etag, last_modified, sha256, size, fetched_at}, written last: "whole"
        NAME.part       what has arrived so far of a download that was cut
        part.json       {url, etag, last_modified, size} of that part: what a resumed download must still match

A kept file is used again without a network unless `refresh` is asked for; its digest is checked first. Conditional
range requests as in RFC 9110, sections 13.1.5 (If-Range) and 14 (Range): a part is only continued where the server
confirms that the file is still the same one.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trainwright import __version__
from trainwright.core.durable import sync_folder, write_file
from trainwright.core.errors import (
    ChecksumMismatch,
    DiskFull,
    DownloadFailed,
    InvalidValue,
    NotTextResponse,
    SourceNotFound,
    translate_write_errors,
)
from trainwright.core.hashing import canonical_json, digest_bytes, digest_file

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, amount done, total or None where unknown); a download counts bytes."""

NUM_RETRIES = 3
_FIRST_WAIT_S = 1.0
_HEAD_BYTES = 512
_RETRIED_STATUSES = {408, 425, 429}
_HTML_BEGINNINGS = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Download:
    """A whole file that came from `url`. `notes` is what a person should be told about how it came here."""

    url: str
    path: Path
    digest: str
    num_bytes: int
    is_reused: bool
    notes: tuple[str, ...] = ()


@dataclass
class _Place:
    """Where one URL's files lie."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        return self.folder / self.name

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name}.part"

    @property
    def meta(self) -> Path:
        return self.folder / "meta.json"

    @property
    def part_meta(self) -> Path:
        return self.folder / "part.json"


@dataclass
class _Request:
    url: str
    headers: Mapping[str, str]
    place: _Place
    on_progress: Progress
    notes: list[str] = field(default_factory=list)


class _AttemptError(Exception):
    """An attempt failed in a way that another attempt may mend."""


def download_file(
    url: str,
    *,
    folder: Path,
    on_progress: Progress,
    sha256: str | None = None,
    refresh: bool = False,
    headers: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Download:
    """The file at `url`, from `folder` where it is kept there, else over the network (retried after 1, 2 and 4 s).

    Raises SourceNotFound (404), DownloadFailed, NotTextResponse, ChecksumMismatch, DiskFull, NotWritable, InvalidValue.
    """
    place = _Place(folder / digest_bytes(url.encode("utf-8")), _name_of(url))
    notes: list[str] = []
    if not refresh and (kept := _open_kept(url, place, sha256, notes)) is not None:
        return kept
    with translate_write_errors(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    request = _Request(url, headers or {}, place, on_progress, notes)
    with _only_writer(place, url):
        response_headers = _fetch_with_retries(request, sleep)
        return _accept(request, response_headers, sha256)


def redact_url(url: str) -> str:
    """The URL without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _name_of(url: str) -> str:
    name = unquote(urlsplit(url).path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    cleaned = "".join(character if character.isalnum() or character in "._-+" else "_" for character in name).lstrip(
        "."
    )
    # The two names beside it are ours; 200 leaves room for ".part" in a file name of 255 bytes.
    return f"file-{cleaned}" if cleaned in {"", "meta.json", "part.json"} else cleaned[-200:]


def _open_kept(url: str, place: _Place, sha256: str | None, notes: list[str]) -> Download | None:
    meta = _read_json(place.meta)
    if meta is None or not place.file.is_file():
        return None
    digest = digest_file(place.file)
    if digest != meta.get("sha256"):
        aside = _set_aside(place.file, "damaged")
        notes.append(f"{place.file.name} was damaged since it was downloaded; set aside as {aside}, fetched again.")
        return None
    if sha256 is not None and digest != sha256:
        notes.append(f"The copy of {place.file.name} kept from before has another checksum; fetched again.")
        return None
    return Download(url, place.file, digest, place.file.stat().st_size, is_reused=True, notes=tuple(notes))


def _read_json(path: Path) -> dict[str, Any] | None:
    """A small JSON file, or None where it is missing or unreadable: then the file beside it is not to be trusted."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _set_aside(path: Path, why: str) -> Path:
    aside = path.with_name(f"{path.name.removesuffix('.part')}.{why}")
    with translate_write_errors(path.parent):
        path.replace(aside)
    return aside


@contextmanager
def _only_writer(place: _Place, url: str) -> Iterator[None]:
    """Two processes that append to one part would spoil it. The lock ends with its process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks; a spoiled part is still caught by size or checksum
        yield
        return
    with translate_write_errors(place.folder):
        descriptor = os.open(place.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            raise DownloadFailed(
                f"Another process is downloading {redact_url(url)} just now.",
                next_step="Wait until it is done; its file is then used without another download.",
            ) from error
        yield
    finally:
        os.close(descriptor)


# ── attempts ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _fetch_with_retries(request: _Request, sleep: Callable[[float], None]) -> Mapping[str, str]:
    import httpx

    wait_s = _FIRST_WAIT_S
    timeout = httpx.Timeout(60.0, connect=15.0)
    try:
        client = httpx.Client(follow_redirects=True, timeout=timeout)
        with client:
            for num_left in range(NUM_RETRIES, -1, -1):
                try:
                    return _fetch_once(client, request)
                except (_AttemptError, httpx.TransportError) as error:
                    if isinstance(error, httpx.UnsupportedProtocol):
                        raise
                    if not num_left:
                        raise _gave_up(request, error) from error
                    sleep(wait_s)
                    wait_s *= 2
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidValue(f"{request.url} is not a URL.", why=str(error), next_step="Check data.corpus.") from error
    except httpx.TooManyRedirects as error:
        raise DownloadFailed(
            f"{redact_url(request.url)} redirects in a circle.", next_step="Check the address."
        ) from error
    raise AssertionError("the last attempt returns or raises")


def _gave_up(request: _Request, error: Exception) -> DownloadFailed:
    return DownloadFailed(
        f"{redact_url(request.url)} could not be downloaded ({1 + NUM_RETRIES} attempts).",
        why=f"The last attempt failed: {str(error) or type(error).__name__}.",
        next_step=f"Check the address and the network, then run it again.{_describe_part(request.place)}",
    )


def _describe_part(place: _Place) -> str:
    if not (place.part.is_file() and place.part_meta.is_file()):
        return ""
    num_bytes = place.part.stat().st_size
    return f" The {num_bytes} bytes that arrived are kept in {place.part}; the next run goes on from there."


def _fetch_once(client: "httpx.Client", request: _Request) -> Mapping[str, str]:
    """One attempt: the part is complete when this returns (the response's headers)."""
    place = request.place
    num_have = place.part.stat().st_size if place.part.is_file() else 0
    validator = _read_validator(place) if num_have else ""
    # Compressing on the way would make byte ranges and sizes mean something else.
    headers = {"User-Agent": f"trainwright/{__version__}", "Accept-Encoding": "identity", **request.headers}
    if validator:
        headers |= {"Range": f"bytes={num_have}-", "If-Range": validator}
    with client.stream("GET", request.url, headers=headers) as response:
        if response.status_code == 416 and validator:
            _drop_part(place)
            raise _AttemptError("the server could not continue the part that was kept; it was dropped")
        _require_success(response, request)
        if response.status_code == 206:
            total = _require_continuation(response, num_have, place)
            mode = "ab"
        else:
            total, num_have, mode = _read_length(response), 0, "wb"
        _receive(response, request, mode, num_have, total)
        return response.headers


def _read_validator(place: _Place) -> str:
    """What If-Range may carry: a strong ETag, else the modification date; "" where the part cannot be trusted."""
    meta = _read_json(place.part_meta)
    if meta is None:
        return ""
    etag = str(meta.get("etag") or "")
    return etag if etag.startswith('"') else str(meta.get("last_modified") or "")


def _drop_part(place: _Place) -> None:
    place.part.unlink(missing_ok=True)
    place.part_meta.unlink(missing_ok=True)


def _require_success(response: "httpx.Response", request: _Request) -> None:
    status, url = response.status_code, redact_url(request.url)
    if status in {200, 206}:
        return
    if status in {404, 410}:
        raise SourceNotFound(
            f"{url} does not exist (the server answered {status}).",
            next_step="Check the address, or give another corpus.",
        )
    if status in _RETRIED_STATUSES or status >= 500:
        raise _AttemptError(f"the server answered {status} {response.reason_phrase}".rstrip())
    advice = "Check the address."
    if status in {401, 403}:
        advice = "It needs permission. For hf:// sources set HF_TOKEN to a token that may read it."
    raise DownloadFailed(f"{url} could not be downloaded: the server answered {status}.", next_step=advice)


def _read_length(response: "httpx.Response") -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdigit() else None


def _require_continuation(response: "httpx.Response", num_have: int, place: _Place) -> int | None:
    """The whole file's size from `Content-Range: bytes START-END/TOTAL`, where START is what we have."""
    unit, _, rest = response.headers.get("content-range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(num_have):
        _drop_part(place)
        raise _AttemptError("the server sent another part than the one asked for")
    return int(total) if total.isdigit() else None


# ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _receive(response: "httpx.Response", request: _Request, mode: str, num_have: int, total: int | None) -> None:
    place = request.place
    # Some servers compress all the same. Then the decoded bytes are the file, and lengths are those of other bytes.
    is_encoded = response.headers.get("content-encoding", "identity") not in {
        "identity",
        "",
    } and not _is_named_compressed(place)
    total = None if is_encoded else total
    # Pieces of the network's own size: asking for larger ones would lose what waits when the connection is cut.
    pieces = response.iter_bytes() if is_encoded else response.iter_raw()
    first = _read_head(pieces)
    if mode == "wb":
        _require_no_page(response, request, first)
        _drop_part(place)
        if not is_encoded:
            _write_part_meta(request, response, total)
    _require_room(place, total, num_have)
    try:
        with translate_write_errors(place.part), place.part.open(mode, buffering=0) as file:
            num_bytes = num_have
            for piece in _chain(first, pieces):
                _write_all(file.fileno(), piece)
                num_bytes += len(piece)
                request.on_progress(f"download {place.name}", num_bytes, total)
            os.fsync(file.fileno())
    except DiskFull as error:
        raise DiskFull(error.message, why=error.why, next_step=error.next_step + _describe_part(place)) from error
    if total is not None and num_bytes != total:
        if num_bytes > total:
            _drop_part(place)
        raise _AttemptError(f"{num_bytes} bytes arrived where {total} were announced")


def _is_named_compressed(place: _Place) -> bool:
    return place.name.lower().endswith((".gz", ".zst"))


def _read_head(pieces: Iterator[bytes]) -> bytes:
    """Enough of the beginning to see what it is."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    return head


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _require_no_page(response: "httpx.Response", request: _Request, first: bytes) -> None:
    if request.place.name.lower().endswith((".html", ".htm")):
        return
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    begins_like_page = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML_BEGINNINGS)
    if content_type in {"text/html", "application/xhtml+xml"} or begins_like_page:
        raise NotTextResponse(
            f"{redact_url(request.url)} is a web page, not a text file.",
            why=f"The server sent {content_type or 'no content type'}"
            + (", and the body begins like HTML." if begins_like_page else "."),
            next_step="Give the address of the file itself: often a link named raw, download or resolve.",
        )


def _write_part_meta(request: _Request, response: "httpx.Response", total: int | None) -> None:
    document = {
        "url": redact_url(request.url),
        "etag": response.headers.get("etag"),
        "last_modified": response.headers.get("last-modified"),
        "size": total,
    }
    write_file(request.place.part_meta, canonical_json(document))


def _require_room(place: _Place, total: int | None, num_have: int) -> None:
    if total is None:
        return
    num_free = shutil.disk_usage(place.folder).free
    if total - num_have > num_free:
        raise DiskFull(
            f"No room to write {place.file}.",
            why=f"{total - num_have} more bytes are needed and {num_free} are free.",
            next_step="Free some space, or choose another folder with --workspace; then run it again."
            + _describe_part(place),
        )


def _accept(request: _Request, response_headers: Mapping[str, str], sha256: str | None) -> Download:
    """The part becomes the file: checked, renamed, then described."""
    place = request.place
    digest = digest_file(place.part)
    num_bytes = place.part.stat().st_size
    if sha256 is not None and digest != sha256:
        aside = _set_aside(place.part, "rejected")
        _drop_part(place)
        raise ChecksumMismatch(
            f"{redact_url(request.url)} is not the file that was named.",
            why=f"Its SHA-256 is {digest}; data.sha256 says {sha256}. It was set aside as {aside} and not used.",
            next_step="Check the address and the checksum: the file may have changed, or was tampered with.",
        )
    meta = {
        "url": redact_url(request.url),
        "name": place.name,
        "etag": response_headers.get("etag"),
        "last_modified": response_headers.get("last-modified"),
        "sha256": digest,
        "size": num_bytes,
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with translate_write_errors(place.folder):
        place.meta.unlink(missing_ok=True)  # never the old description beside the new file
        place.part.replace(place.file)
        sync_folder(place.folder)
    write_file(place.meta, canonical_json(meta))
    _drop_part(place)
    return Download(request.url, place.file, digest, num_bytes, is_reused=False, notes=tuple(request.notes))
