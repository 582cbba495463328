"""The same request under the same key is answered, and not done, twice."""

import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.core.errors import IdempotencyMismatch, RequestUnderWay
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.store.answers import UNDER_WAY_S, Answers

KEY = {"Idempotency-Key": "once"}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(tmp_path / "ws", Settings()))


def test_every_route_that_creates_answers_again_what_it_answered(client: TestClient) -> None:
    first = client.post("/api/traces", json=CHAT, headers=KEY)
    again = client.post("/api/traces", json=CHAT, headers=KEY)
    assert (first.status_code, first.json()["state"]) == (201, "new")
    assert (again.status_code, again.json()) == (201, first.json())
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert client.post("/api/traces", json=CHAT).json()["state"] == "known"


def test_a_key_stands_for_one_request(client: TestClient) -> None:
    client.post("/api/traces", json=CHAT, headers=KEY)
    for path, body in (("/api/traces", CHAT | {"meta": {}}), ("/api/traces/batch", {"traces": [CHAT]})):
        refused = client.post(path, json=body, headers=KEY)
        assert (refused.status_code, refused.json()["error"]["name"]) == (409, "idempotency-mismatch")


def test_what_was_refused_is_refused_again_and_a_key_that_is_none_is_said_so(client: TestClient) -> None:
    first = client.post("/api/traces", json={}, headers=KEY)
    assert first.status_code == 422
    assert client.post("/api/traces", json={}, headers=KEY).json() == first.json()
    assert client.post("/api/traces", json=CHAT, headers={"Idempotency-Key": "k" * 129}).status_code == 422


def test_of_requests_that_race_one_is_done(client: TestClient) -> None:
    body = {"manifest": {"train": {"steps": 1}}}
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(client.post("/api/training/start", json=body, headers=KEY).status_code)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {202, 409}
    assert 202 in codes
    assert client.get("/api/training/metrics").json()["totalJobs"] == 1


def test_a_request_whose_answer_never_came_is_done_anew_after_a_while(tmp_path: Path) -> None:
    answers = Answers.open_file(tmp_path / "jobs.sqlite")
    assert answers.begin("k", "a" * 64, now=1000.0) is None
    with pytest.raises(RequestUnderWay):
        answers.begin("k", "a" * 64, now=1001.0)
    with pytest.raises(IdempotencyMismatch):
        answers.begin("k", "b" * 64, now=1001.0)
    assert answers.begin("k", "a" * 64, now=1001.0 + UNDER_WAY_S) is None
    answers.finish("k", 201, "{}")
    assert answers.begin("k", "a" * 64, now=1002.0 + UNDER_WAY_S) == (201, "{}")
    answers.forget("k")
    assert answers.begin("k", "b" * 64, now=1003.0) is None
    answers.close()
