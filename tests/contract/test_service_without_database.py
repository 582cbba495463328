"""A service whose queue is in PostgreSQL, while that is gone for a while: it says so, loses nothing, and goes on by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings

SMALL = {"manifest": {"train": {"steps": 1}}}


def test_a_database_that_is_gone_for_a_while_costs_no_job_and_no_restart(
    new_database: Callable[[], str], postgresql_server: sa.URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database()
    monkeypatch.setenv("TRAINWRIGHT_JOBS_URL", url)
    name = sa.make_url(url).database
    engine = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def allow(is_allowed: bool) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}"))
            if not is_allowed:
                words = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                connection.execute(sa.text(words), {"name": name})

    with TestClient(create_app(tmp_path / "ws", Settings()), base_url="http://127.0.0.1") as client:
        first = client.post("/api/training/start", json=SMALL)
        assert first.status_code == 202
        allow(False)
        try:
            for answer in (
                client.get("/api/training/jobs"),
                client.post("/api/training/start", json=SMALL),
                client.post("/api/training/start", json=SMALL, headers={"Idempotency-Key": "one"}),
            ):
                assert answer.status_code == 503, answer.text
                assert answer.json()["error"]["name"] == "ledger-unavailable"
            assert client.get("/health").status_code == 200
        finally:
            allow(True)
        second = client.post("/api/training/start", json=SMALL, headers={"Idempotency-Key": "one"})
        assert second.status_code == 202, second.text
        kept = [job["job_id"] for job in client.get("/api/training/jobs").json()["items"]]
        assert sorted(kept) == sorted([first.json()["job_id"], second.json()["job_id"]])
    engine.dispose()
