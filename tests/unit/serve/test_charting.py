"""The charting library: out of its installed package, kept by browsers for good, and nothing is allowed for it."""

import gzip
import re

import pytest

from trainwright.serve import charting

pytest.importorskip("plotly", reason="the service is an extra: pip install 'trainwright[serve]'")


def test_the_library_is_served_from_its_package_and_kept_for_good(client):
    address = re.search(r'data-library="([^"]+)"', client.get("/runs").text)[1]
    assert re.fullmatch(r"/static/plotly-[\w.]+\.min\.js", address)
    answers = [client.get(address, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity")]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.content == charting.find_library().read_bytes()
    assert answers[0].headers["content-encoding"] == "gzip"
    assert int(answers[0].headers["content-length"]) < int(answers[1].headers["content-length"]) / 2
    assert client.get("/static/plotly-0.0.0.min.js").status_code == 404


def test_no_page_allows_more_for_its_sake(client):
    policy = client.get("/runs").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "script-src 'self';" in policy


def test_without_the_package_pages_have_no_address_to_load(client, monkeypatch):
    monkeypatch.setattr("trainwright.serve.pages.name_library", lambda: None)
    assert "data-library" not in client.get("/runs").text


def test_what_is_compressed_is_the_same_each_time(tmp_path):
    path = tmp_path / "library.js"
    path.write_bytes(b"var x = 1;" * 100)
    assert gzip.decompress(charting._compress(path)) == path.read_bytes()
