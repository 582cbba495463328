"""A real HTTP server on loopback that misbehaves on request."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Page:
    """What one path answers. The lists are used up one request at a time; after that the page behaves."""

    body: bytes
    content_type: str = "text/plain"
    etag: str | None = '"v1"'
    last_modified: str | None = None
    honours_range: bool = True
    statuses: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    shift_range: int = 0


@dataclass
class Server:
    pages: dict[str, Page]
    requests: list[tuple[str, dict[str, str]]]
    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def _make_handler(pages: dict[str, Page], requests: list[tuple[str, dict[str, str]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                self.send_error(404)
            elif page.statuses:
                self.send_error(page.statuses.pop(0))
            else:
                self._send(page)

        def _send(self, page: Page) -> None:
            start = self._start(page)
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", page.content_type)
            for name, value in (("ETag", page.etag), ("Last-Modified", page.last_modified), *page.headers.items()):
                if value:
                    self.send_header(name, value)
            if start:
                first = start + page.shift_range
                self.send_header("Content-Range", f"bytes {first}-{len(page.body) - 1}/{len(page.body)}")
            rest = page.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if page.cut_after:
                self.wfile.write(rest[: page.cut_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(rest)

        def _start(self, page: Page) -> int:
            wanted = self.headers.get("Range", "")
            if not wanted or not page.honours_range:
                return 0
            if self.headers.get("If-Range") not in {page.etag, page.last_modified} - {None}:
                return 0
            return int(wanted.removeprefix("bytes=").partition("-")[0])

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pages: dict[str, Page] = {}
    requests: list[tuple[str, dict[str, str]]] = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(pages, requests))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Server(pages, requests, httpd.server_address[1])
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def make_page() -> type[Page]:
    return Page
