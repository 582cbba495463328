import gzip
import json
import os
import resource
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trainwright.core.errors import (
    ChecksumMismatch,
    DiskFull,
    DownloadFailed,
    InvalidValue,
    NotTextResponse,
    SourceNotFound,
)
from trainwright.core.hashing import digest_bytes
from trainwright.data.download import download_file

TEXT = b"".join(b"line %06d of a text worth fetching\n" % number for number in range(20_000))


def fetch(url, folder, waits=None, **options):
    sleep = (lambda seconds: None) if waits is None else waits.append
    return download_file(url, folder=folder, on_progress=lambda *_: None, sleep=sleep, **options)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_download_is_kept_and_used_again_without_network(server, make_page, tmp_path):
    server.pages["/text.txt"] = make_page(TEXT)
    seen = []
    first = download_file(server.url("/text.txt"), folder=tmp_path, on_progress=lambda *event: seen.append(event))
    assert first.path.read_bytes() == TEXT
    assert seen[-1] == ("download text.txt", len(TEXT), len(TEXT))
    meta = json.loads((first.path.parent / "meta.json").read_text())
    assert (meta["sha256"], meta["size"], meta["etag"]) == (digest_bytes(TEXT), len(TEXT), '"v1"')
    assert first.path.parent.name == digest_bytes(server.url("/text.txt").encode())
    assert files_in(tmp_path) == {"text.txt", "meta.json"}

    server.pages.clear()
    again = fetch(server.url("/text.txt"), tmp_path)
    assert again.is_reused
    assert again.digest == first.digest
    assert len(server.requests) == 1


def test_refresh_fetches_again(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(b"old")
    fetch(server.url("/a.txt"), tmp_path)
    server.pages["/a.txt"] = make_page(b"new")
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == b"old"
    assert fetch(server.url("/a.txt"), tmp_path, refresh=True).path.read_bytes() == b"new"


def test_failed_refresh_leaves_the_kept_file_usable(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(b"old")
    fetch(server.url("/a.txt"), tmp_path)
    server.pages["/a.txt"] = make_page(b"new", statuses=[503] * 4)
    with pytest.raises(DownloadFailed):
        fetch(server.url("/a.txt"), tmp_path, refresh=True)
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == b"old"


def test_damaged_kept_file_is_set_aside_and_fetched_again(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT)
    kept = fetch(server.url("/a.txt"), tmp_path)
    kept.path.write_bytes(TEXT[:-1] + b"X")
    again = fetch(server.url("/a.txt"), tmp_path)
    assert again.path.read_bytes() == TEXT
    assert "damaged" in again.notes[0]
    assert (kept.path.parent / "a.txt.damaged").read_bytes() == TEXT[:-1] + b"X"


def test_cut_connection_is_continued_where_it_stopped(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, cut_after=[300_000])
    waits: list[float] = []
    assert fetch(server.url("/a.txt"), tmp_path, waits).path.read_bytes() == TEXT
    assert waits == [1.0]
    _, headers = server.requests[1]
    assert headers["if-range"] == '"v1"'
    assert headers["range"] == "bytes=300000-"


def test_partial_file_is_kept_and_continued_by_the_next_run(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, cut_after=[100_000, 50_000, 50_000, 50_000])
    waits: list[float] = []
    with pytest.raises(DownloadFailed) as caught:
        fetch(server.url("/a.txt"), tmp_path, waits)
    assert waits == [1.0, 2.0, 4.0]
    part = next(tmp_path.rglob("*.part"))
    assert part.stat().st_size == 250_000
    assert str(part) in caught.value.next_step
    assert "a.txt" not in files_in(tmp_path)

    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT
    assert server.requests[-1][1]["range"] == "bytes=250000-"
    assert files_in(tmp_path) == {"a.txt", "meta.json"}


def test_last_modified_stands_in_for_a_missing_or_weak_etag(server, make_page, tmp_path):
    date = "Wed, 01 Jan 2025 00:00:00 GMT"
    server.pages["/a.txt"] = make_page(TEXT, etag='W/"weak"', last_modified=date, cut_after=[300_000])
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT
    assert server.requests[1][1]["if-range"] == date


def test_server_without_ranges_starts_again(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, honours_range=False, cut_after=[300_000])
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT


def test_server_without_validators_is_asked_for_everything(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, etag=None, cut_after=[300_000])
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT
    assert "range" not in server.requests[1][1]


def test_file_that_changed_between_attempts_is_not_mixed(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(b"A" * 500_000, cut_after=[100_000] * 4)
    with pytest.raises(DownloadFailed):
        fetch(server.url("/a.txt"), tmp_path)
    server.pages["/a.txt"] = make_page(b"B" * 600_000, etag='"v2"')
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == b"B" * 600_000


def test_wrong_range_from_the_server_is_not_appended(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, cut_after=[300_000], shift_range=7)
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT


def test_server_errors_are_retried(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, statuses=[500, 500])
    waits: list[float] = []
    assert fetch(server.url("/a.txt"), tmp_path, waits).path.read_bytes() == TEXT
    assert waits == [1.0, 2.0]


def test_missing_page_is_not_retried(server, tmp_path):
    with pytest.raises(SourceNotFound, match="404"):
        fetch(server.url("/nowhere.txt"), tmp_path)
    assert len(server.requests) == 1
    assert files_in(tmp_path) == set()


def test_refused_permission_names_the_token(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, statuses=[403])
    with pytest.raises(DownloadFailed, match="403") as caught:
        fetch(server.url("/a.txt"), tmp_path)
    assert "HF_TOKEN" in caught.value.next_step
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html; charset=utf-8", b"<p>Please log in</p>"),
        ("text/plain", b"\n  <!DOCTYPE html><html></html>"),
        ("application/octet-stream", b"<html><body>Sorry</body></html>"),
    ],
)
def test_web_page_in_place_of_text_is_refused(server, make_page, tmp_path, content_type, body):
    server.pages["/a.txt"] = make_page(body, content_type=content_type)
    with pytest.raises(NotTextResponse):
        fetch(server.url("/a.txt"), tmp_path)
    assert files_in(tmp_path) == set()


def test_web_page_that_was_asked_for_is_taken(server, make_page, tmp_path):
    server.pages["/a.html"] = make_page(b"<html>Hello</html>", content_type="text/html")
    assert fetch(server.url("/a.html"), tmp_path).path.read_bytes() == b"<html>Hello</html>"


def test_wrong_checksum_is_set_aside_and_never_used(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT)
    with pytest.raises(ChecksumMismatch, match="not the file") as caught:
        fetch(server.url("/a.txt"), tmp_path, sha256="0" * 64)
    assert digest_bytes(TEXT) in caught.value.why
    assert files_in(tmp_path) == {"a.txt.rejected"}


def test_right_checksum_is_accepted(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT)
    assert fetch(server.url("/a.txt"), tmp_path, sha256=digest_bytes(TEXT)).digest == digest_bytes(TEXT)


def test_compressed_transfer_is_decoded_and_compressed_file_is_not(server, make_page, tmp_path):
    squeezed = gzip.compress(TEXT)
    server.pages["/a.txt"] = make_page(squeezed, headers={"Content-Encoding": "gzip"})
    server.pages["/a.txt.gz"] = make_page(squeezed, headers={"Content-Encoding": "gzip"})
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT
    assert fetch(server.url("/a.txt.gz"), tmp_path).path.read_bytes() == squeezed


def test_refused_connection_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(DownloadFailed) as caught:
        fetch(f"http://127.0.0.1:{port}/a.txt", tmp_path, waits)
    assert "refused" in caught.value.why
    assert len(waits) == 3


def test_secrets_of_an_address_are_not_shown_or_stored(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT, statuses=[403])
    url = server.url("/a.txt?token=hush")
    with pytest.raises(DownloadFailed) as caught:
        fetch(url, tmp_path)
    assert "hush" not in str(caught.value.as_document())
    kept = fetch(url, tmp_path)
    assert "hush" not in (kept.path.parent / "meta.json").read_text()


def test_address_that_is_none_is_a_usage_error(tmp_path):
    with pytest.raises(InvalidValue):
        fetch("http://", tmp_path)


def test_second_writer_of_one_download_is_refused(server, make_page, tmp_path):
    import fcntl

    server.pages["/a.txt"] = make_page(TEXT)
    folder = tmp_path / digest_bytes(server.url("/a.txt").encode())
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadFailed, match="Another process"):
            fetch(server.url("/a.txt"), tmp_path)


def test_full_disk_while_downloading_is_named_and_the_part_continued(server, make_page, tmp_path):
    server.pages["/a.txt"] = make_page(TEXT)
    program = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        from trainwright.core.errors import DiskFull
        from trainwright.data.download import download_file
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        try:
            download_file({server.url("/a.txt")!r}, folder=Path({str(tmp_path)!r}), on_progress=lambda *_: None)
        except DiskFull as error:
            print(error.next_step)
    """)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    assert "400000 bytes that arrived are kept" in done.stdout
    assert "a.txt" not in files_in(tmp_path)
    assert fetch(server.url("/a.txt"), tmp_path).path.read_bytes() == TEXT
    assert server.requests[-1][1]["range"] == "bytes=400000-"


def test_file_larger_than_the_free_space_is_refused_before_it_is_fetched(server, make_page, tmp_path, monkeypatch):
    server.pages["/a.txt"] = make_page(TEXT)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("trainwright.data.download.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(DiskFull) as caught:
        fetch(server.url("/a.txt"), tmp_path)
    assert f"{len(TEXT)} more bytes are needed and 1000 are free" in caught.value.why


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small file system needs root")
def test_really_full_file_system(server, make_page, tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        # Chunked by a compressed transfer: the size is not known beforehand, so the disk itself has to say no.
        server.pages["/a.txt"] = make_page(gzip.compress(TEXT), headers={"Content-Encoding": "gzip"})
        with pytest.raises(DiskFull):
            fetch(server.url("/a.txt"), tmp_path)
        assert "a.txt" not in files_in(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
