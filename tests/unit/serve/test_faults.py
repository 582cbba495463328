"""What the service says, and what it keeps, when the machine under it fails: a locked database, a full disk, a deaf client."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

import trainwright
from trainwright.serve import streaming
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.serve.streaming import Stream
from trainwright.store import database

SMALL = {"manifest": {"train": {"steps": 1}}}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    return TestClient(create_app(tmp_path / "ws", Settings()))


def refuse(answer: object, status: int, name: str) -> None:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    error = answer.json()["error"]  # type: ignore[attr-defined]
    assert set(error) == {"name", "message", "why", "next", "exit_code"}
    assert error["name"] == name


# ── the database ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("file", "path", "body", "accepted"),
    [
        ("jobs.sqlite", "/api/training/start", SMALL, 202),
        ("traces.sqlite", "/api/traces", {"messages": [{"role": "user", "content": "hi"}]}, 201),
    ],
)
def test_a_locked_database_is_said_and_nothing_was_done_or_lost(
    client: TestClient, tmp_path: Path, file: str, path: str, body: object, accepted: int
) -> None:
    key = {"Idempotency-Key": "one"}
    assert client.post(path, json=body).status_code == accepted
    holder = sqlite3.connect(tmp_path / "ws" / file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    refuse(client.post(path, json=body, headers=key), 503, "ledger-unavailable")
    assert client.get("/health").status_code == 200
    assert client.get("/api/training/jobs").status_code == 200  # who reads does not wait for who writes
    holder.execute("ROLLBACK")
    holder.close()
    answered = client.post(path, json=body, headers=key)
    assert answered.status_code == accepted
    assert client.post(path, json=body, headers=key).json() == answered.json()
    if file == "jobs.sqlite":
        assert len(client.get("/api/training/jobs").json()["items"]) == 2


def test_a_ledger_that_cannot_be_read_makes_the_service_unready_and_not_dead(
    client: TestClient, tmp_path: Path
) -> None:
    assert client.get("/ready").status_code == 200
    client.app.state.workspace.ledger.close()
    path = tmp_path / "ws" / "ledger.sqlite"
    aside = path.rename(path.with_name("aside"))
    for beside in path.parent.glob("ledger.sqlite-*"):
        beside.unlink()
    path.write_bytes(b"this is no database at all, and long enough to be taken for one" * 100)
    refuse(client.get("/ready"), 503, "ledger-unavailable")
    refuse(client.get("/api/runs"), 503, "ledger-unavailable")
    assert client.get("/health").status_code == 200
    client.app.state.workspace.ledger.close()
    aside.replace(path)
    assert client.get("/ready").status_code == 200


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────────────────────────
FULL = """
import json, resource, signal, sys
from pathlib import Path
from fastapi.testclient import TestClient
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
root = Path(sys.argv[1])
client = TestClient(create_app(root, Settings()))
trace = lambda n: {"messages": [{"role": "user", "content": f"{n} " + "x" * 20_000}]}
accepted = [client.post("/api/traces", json=trace(0)).json()["id"]]
largest = max(path.stat().st_size for path in root.rglob("*") if path.is_file())
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 30_000, unlimited[1]))
for n in range(1, 300):
    answer = client.post("/api/traces", json=trace(n))
    if answer.status_code != 201:
        break
    accepted.append(answer.json()["id"])
reading = client.get("/api/traces").status_code
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
after = client.post("/api/traces", json=trace(n))
accepted.append(after.json()["id"])
kept = [one["id"] for one in client.get("/api/traces", params={"limit": 1000}).json()["items"]]
print(json.dumps({"status": answer.status_code, "error": answer.json()["error"], "reading": reading,
                  "after": after.status_code, "accepted": accepted, "kept": kept}))
"""


def test_a_full_disk_is_said_and_what_was_accepted_is_kept(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(trainwright.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "ws")], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["status"] in (503, 507)
    assert found["error"]["name"] in (
        "disk-full",
        "ledger-unavailable",
    )  # a limit of files is less clear than a full disk
    assert found["error"]["next"]
    assert found["reading"] == 200
    assert found["after"] == 201
    assert sorted(found["kept"]) == sorted(found["accepted"])


# ── the client ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_client_that_stops_reading_is_given_up_and_its_stream_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALLED_S", 0.05)
    closed, sent = [], []

    async def say() -> object:
        try:
            while True:
                yield "more"
        finally:
            closed.append(True)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        if len(sent) == 3:
            await asyncio.Event().wait()  # nobody takes it, ever

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def answer() -> None:
        await Stream(say())({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        assert closed == [True]

    asyncio.run(asyncio.wait_for(answer(), 30))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body", "http.response.body"]


# ── what others wrote ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_script_is_no_name_of_a_run_and_shown_as_text_where_a_name_is_made_from_a_file(client: TestClient) -> None:
    attack = "<script>alert(1)</script>"
    refuse(client.post("/api/training/start", json={"manifest": {"name": attack}}), 422, "invalid-value")
    started = client.post("/api/training/start", json={"manifest": {"data": {"corpus": f"{attack}.txt"}}})
    assert started.status_code == 202
    as_page = {"Accept": "text/html"}
    for path in (
        "/jobs",
        f"/jobs/{started.json()['job_id']}",
        f"/runs/{attack}",
        f"/models/{attack}",
        f"/traces?q={attack}",
    ):
        text = client.get(path, headers=as_page).text
        assert "</html>" in text
        assert "<script>alert" not in text
