"""Who is let in, from where, how often, and what is put on record about it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.core.errors import AuditDamaged, InvalidValue, NotPermitted, TooManyRequests
from trainwright.core.manifest import Manifest, Section, schema_of_keys
from trainwright.serve.app import create_app
from trainwright.serve.guard import Pace
from trainwright.serve.listening import require_safe
from trainwright.serve.settings import Settings
from trainwright.serve.tokens import add_token, read_tokens
from trainwright.store.audit import AuditLog

SMALL = {"manifest": {"train": {"steps": 1}}}


@pytest.fixture
def tokens_path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yaml"


@pytest.fixture
def log_in(tmp_path: Path, tokens_path: Path) -> Callable[..., TestClient]:
    """A client with a token of a role, of a service that asks for tokens."""

    def open_client(role: str | None, **settings: object) -> TestClient:
        token = add_token(tokens_path, f"{role}-1", role or "viewer")  # type: ignore[arg-type]
        app = create_app(tmp_path / "ws", Settings(tokens_path=tokens_path, **settings))  # type: ignore[arg-type]
        headers = {} if role is None else {"Authorization": f"Bearer {token}"}
        return TestClient(app, headers=headers)

    return open_client


def name_of(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["name"]  # type: ignore[attr-defined]


def test_without_a_token_nothing_is_told_but_that_the_service_lives(log_in: Callable[..., TestClient]) -> None:
    client = log_in(None)
    assert client.get("/health").status_code == 200
    refused = client.get("/api/training/status")
    assert name_of(refused) == (401, "not-authenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert name_of(client.get("/openapi.json")) == (401, "not-authenticated")
    for header in ("Bearer wrong", "Bearer ", "Basic eDp5", "x"):
        assert name_of(client.get("/api/runs", headers={"Authorization": header})) == (401, "not-authenticated")


def test_each_role_may_do_what_is_its_own_and_what_those_before_it_may(log_in: Callable[..., TestClient]) -> None:
    promote = {"stage": "staging", "ref": "x"}
    viewer, operator, approver = (log_in(role) for role in ("viewer", "operator", "approver"))
    for client in (viewer, operator, approver):
        assert client.get("/api/training/status").status_code == 200
    assert name_of(viewer.post("/api/training/start", json=SMALL)) == (403, "not-permitted")
    assert operator.post("/api/training/start", json=SMALL).status_code == 202
    assert name_of(operator.post("/api/models/m/promote", json=promote)) == (403, "not-permitted")
    assert name_of(approver.post("/api/models/m/promote", json=promote)) == (404, "unknown-ref")


def test_a_token_that_was_taken_out_or_has_ended_is_out_at_once(
    log_in: Callable[..., TestClient], tokens_path: Path
) -> None:
    client = log_in("viewer")
    ended = add_token(tokens_path, "old", "admin", datetime.now(UTC) - timedelta(seconds=1))
    old = {"Authorization": f"Bearer {ended}"}
    assert name_of(client.get("/api/runs", headers=old)) == (401, "not-authenticated")
    assert client.get("/api/runs").status_code == 200
    tokens_path.write_text("tokens: []\n", encoding="utf-8")
    assert name_of(client.get("/api/runs")) == (401, "not-authenticated")


def test_the_file_has_no_token_in_it_and_is_its_owners_alone(tokens_path: Path) -> None:
    token = add_token(tokens_path, "ada", "admin")
    assert token not in tokens_path.read_text(encoding="utf-8")
    assert tokens_path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in read_tokens(tokens_path)] == ["ada"]
    with pytest.raises(InvalidValue, match="ada has a token"):
        add_token(tokens_path, "ada", "viewer")
    tokens_path.write_text("tokens: [{name: x, role: king}]", encoding="utf-8")
    with pytest.raises(InvalidValue, match="no file of tokens"):
        read_tokens(tokens_path)


def test_other_addresses_need_tokens() -> None:
    with pytest.raises(NotPermitted):
        require_safe(Settings(host="0.0.0.0"))
    require_safe(Settings(host="0.0.0.0", tokens_path=Path("tokens.yaml")))
    require_safe(Settings())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", {"corpus": "/etc/passwd"}),
        ("data", {"corpus": "../../etc/*"}),
        ("data", {"corpus": "*/../../../etc/passwd"}),
        ("data", {"corpus": "http://127.0.0.1:9/x"}),
        ("data", {"corpus": "s3://bucket/x"}),
        ("data", {"corpus": "builtin:stories", "validation": "/etc/hostname"}),
        ("data", {"traces": "/etc/passwd"}),
        ("data", {"corpus": "link/secret.txt"}),
        ("tokenizer", {"path": "/usr/share"}),
        ("train", {"start": "/root"}),
        ("train", {"allow_pickle": True}),
        ("watch", {"folder": "/tmp/elsewhere"}),
        ("watch", {"trackers": ["mlflow"], "uri": "http://127.0.0.1:5000"}),
        ("watch", {"alerts": "/etc/passwd"}),
        ("watch", {"alerts": "texts/alerts.yaml"}),
        ("costs", {"prices": "/etc/passwd"}),
        ("finetune", {"data": {"traces": "/etc/passwd"}}),
    ],
)
def test_a_manifest_from_outside_may_name_nothing_outside_the_workspace(
    log_in: Callable[..., TestClient], tmp_path: Path, key: str, value: object
) -> None:
    client = log_in("approver")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "ws" / "link").symlink_to(tmp_path)
    refused = client.post("/api/training/start", json={"manifest": {key: value}})
    assert name_of(refused) == (403, "not-permitted"), refused.text
    assert log_in("admin").post("/api/training/start", json={"manifest": {key: value}}).status_code == 202


def test_a_manifest_from_outside_may_name_what_is_in_the_workspace(
    log_in: Callable[..., TestClient], tmp_path: Path
) -> None:
    client = log_in("operator")
    (tmp_path / "ws" / "texts").mkdir()
    for corpus in ("builtin:stories", "hf://org/name", "texts/*.txt", "texts/a.txt"):
        started = client.post("/api/training/start", json={"manifest": {"data": {"corpus": corpus}}})
        assert started.status_code == 202, started.text


NAMES_NOTHING = {
    "compute.device", "costs.tags", "data.system", "data.text_field", "train.adapter.target_modules",
    "train.sample_prompts", "watch.project",
}  # fmt: skip
"""Keys that hold a text which no file and no address is looked up by."""


def iter_text_keys(section: type[Section] = Manifest, prefix: str = "") -> Iterator[str]:
    """Keys that take any text."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from iter_text_keys(field.annotation, f"{prefix}{name}.")
            continue
        schema = schema_of_keys(section)[name]
        options = [schema, *schema.get("anyOf", [])]
        options += [one["items"] for one in options if isinstance(one.get("items"), dict)]
        if any(one.get("type") == "string" and not {"enum", "const", "pattern"} & set(one) for one in options):
            yield prefix + name


@pytest.mark.parametrize("key", sorted(set(iter_text_keys()) - NAMES_NOTHING))
def test_every_key_that_could_lead_out_of_the_workspace_is_looked_at(
    log_in: Callable[..., TestClient], key: str
) -> None:
    section, _, name = key.partition(".")
    refused = log_in("operator").post("/api/training/start", json={"manifest": {section: {name: "/etc/passwd"}}})
    assert name_of(refused) == (403, "not-permitted"), refused.text
    assert key.startswith("watch.") or key in refused.json()["error"]["message"]


def test_a_page_of_another_place_can_change_nothing_and_a_false_name_reads_nothing(tmp_path: Path) -> None:
    client = TestClient(create_app(tmp_path / "ws", Settings()), base_url="http://127.0.0.1:8765")
    origin = {"Origin": "http://evil.example"}
    assert name_of(client.post("/api/training/start", json=SMALL, headers=origin)) == (403, "not-permitted")
    assert name_of(client.get("/api/runs", headers={"Host": "evil.example"})) == (403, "not-permitted")
    own = {"Origin": "http://127.0.0.1:8765"}
    assert client.post("/api/training/start", json=SMALL, headers=own).status_code == 202
    assert "access-control-allow-origin" not in client.get("/api/runs", headers=origin).headers
    assert client.options("/api/runs", headers=origin).status_code == 405


def test_who_asks_too_often_is_told_so(log_in: Callable[..., TestClient]) -> None:
    client = log_in("viewer", requests_per_s=0.001, burst=3)
    answers = [client.get("/api/training/metrics") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200


def test_a_pace_is_each_callers_own_and_fills_up_again() -> None:
    pace = Pace(2.0, 2)
    for _ in range(2):
        pace.require("a", now=0.0)
    with pytest.raises(TooManyRequests):
        pace.require("a", now=0.1)
    pace.require("b", now=0.1)
    pace.require("a", now=0.6)
    with pytest.raises(TooManyRequests):
        pace.require("a", now=0.7)


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_change_is_on_record_with_who_and_how_it_ended_and_no_reading_is(
    log_in: Callable[..., TestClient], tmp_path: Path
) -> None:
    client = log_in("operator")
    client.get("/api/runs")
    client.post("/api/training/start", json=SMALL)
    client.post("/api/training/stop/none")
    log = AuditLog(tmp_path / "ws" / "audit.jsonl")
    entries = [line["entry"] for line in log.iter_lines()]
    assert [(one["who"], one["what"]) for one in entries] == [("operator-1", "asked"), ("operator-1", "answered")] * 2
    assert [one["status"] for one in entries if one["what"] == "answered"] == [202, 404]
    assert entries[0]["path"] == "/api/training/start"
    assert entries[3]["of"] == 2


def test_a_change_that_cannot_be_put_on_record_is_not_made(log_in: Callable[..., TestClient], tmp_path: Path) -> None:
    client = log_in("operator")
    (tmp_path / "ws" / "audit.jsonl").write_text("no log\n", encoding="utf-8")
    assert name_of(client.post("/api/training/start", json=SMALL)) == (500, "audit-damaged")
    assert client.get("/api/training/metrics").json()["totalJobs"] == 0


def test_a_log_that_was_changed_says_where(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in range(5):
        assert log.append({"number": number}) == number
    num_lines, digest = log.check()
    assert num_lines == 5
    whole = log.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed = json.dumps(json.loads(lines[2]) | {"entry": {"number": 9}}).encode() + b"\n"
    for wrong, line in (
        ([*lines[:2], changed, *lines[3:]], 3),
        ([*lines[:2], *lines[3:]], 3),
        ([lines[1], lines[0], *lines[2:]], 1),
        (lines[1:], 1),
        ([*lines[:4], b"{}\n"], 5),
    ):
        log.path.write_bytes(b"".join(wrong))
        with pytest.raises(AuditDamaged, match=f"at line {line}"):
            log.check()
    log.path.write_bytes(whole + b'{"seq": 5, "at')  # torn by a kill
    assert log.check() == (5, digest)
    assert log.append({"number": 5}) == 5
    assert log.check()[0] == 6
