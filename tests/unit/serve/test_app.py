"""The application as a whole: it answers, and refuses in one shape."""

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(tmp_path / "ws", Settings()))


def test_it_lives_and_is_ready(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").json() == {"status": "ready"}


def test_what_is_not_there_is_refused_in_the_one_shape(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"]["name"] == "unknown-route"
    assert client.post("/health").status_code == 405
