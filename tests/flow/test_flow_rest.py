"""What the command line made, over HTTP: runs, traces, datasets, evaluations, models, lineage."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings


@pytest.fixture(scope="module")
def workspace(finished: Any, tmp_path_factory: pytest.TempPathFactory, command_line: Any) -> Path:
    """A finished run, an evaluation of it, traces, and a version of them."""
    import shutil

    folder = tmp_path_factory.mktemp("rest") / "copy"
    shutil.copytree(finished.command.folder, folder)
    command = command_line(folder)
    items = [
        {"id": f"i{number}", "prompt": f"The {who} saw", "expected_answer": "the moon"}
        for number, who in enumerate(("cat", "dog", "fox"))
    ]
    (folder / "asked.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    command("evaluate", "sentences@latest", "--evalset", "asked.jsonl", "--max-tokens=4")
    return Path(command.workspace)


@pytest.fixture
def client(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("TRAINWRIGHT_KEYS", str(tmp_path / "keys"))
    with TestClient(create_app(workspace, Settings(has_worker=False)), base_url="http://127.0.0.1") as opened:
        yield opened


def get(client: TestClient, path: str, status: int = 200, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


def refuse(answer: Any, status: int, name: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"name", "message", "why", "next", "exit_code"}
    assert error["name"] == name, error
    return dict(error)


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_runs_are_listed_shown_and_their_events_paged(client: TestClient) -> None:
    (row,) = get(client, "/api/runs")["items"]
    shown = get(client, f"/api/runs/{row['run_id'][:12]}")
    assert (shown["status"], shown["step"]) == ("completed", 10)
    steps = get(client, f"/api/runs/{row['run_id']}/metrics", kind="step", limit=4)
    rest = get(client, f"/api/runs/{row['run_id']}/metrics", kind="step", after=steps["next"])
    assert [event["step"] for event in steps["items"] + rest["items"]] == list(range(1, 11))
    assert rest["next"] is None
    refuse(client.get("/api/runs/compare", params={"run": [row["run_id"], row["run_id"]]}), 422, "invalid-value")


def test_artefacts_are_downloaded_by_name_and_nothing_else_is(client: TestClient, workspace: Path) -> None:
    run_id = get(client, "/api/runs")["items"][0]["run_id"]
    names = [one["name"] for one in get(client, f"/api/runs/{run_id}/artefacts")["items"]]
    assert {"plan.json", "report.html", "model.safetensors"} <= set(names)
    assert client.get(f"/api/runs/{run_id}/artefacts/plan.json").json()["kind"] == "plan"
    for outside in ("..%2f..%2fledger.jsonl", "../../../ledger.jsonl", "%2e%2e/run.json", "/etc/passwd", "lock"):
        assert client.get(f"/api/runs/{run_id}/artefacts/{outside}").status_code == 404
    refuse(client.get("/api/runs/nothing"), 404, "unknown-ref")


# ── traces and datasets ───────────────────────────────────────────────────────────────────────────────────────────────
def make_trace(number: int) -> dict[str, Any]:
    return {"trace_version": "1.0", "prompt": f"What is {number} plus 1?", "final_answer": str(number + 1), "steps": []}


def make_conversation(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"hi {number}"}, {"role": "assistant", "content": "<script>"}]}


def test_traces_are_added_once_found_and_compared(client: TestClient) -> None:
    conversation = make_conversation(1)
    first = client.post("/api/traces", json=conversation)
    assert (first.status_code, first.json()["state"]) == (201, "new")
    assert client.post("/api/traces", json=conversation).json() == {**first.json(), "state": "known"}
    batch = client.post("/api/traces/batch", json={"traces": [make_conversation(number) for number in range(1, 30)]})
    assert [one["state"] for one in batch.json()["items"]] == ["known"] + ["new"] * 28
    page = get(client, "/api/traces", limit=20)
    rest = get(client, "/api/traces", limit=20, after=page["next"])
    assert len({row["id"] for row in page["items"] + rest["items"]}) == 29
    assert len(get(client, "/api/traces", q="hi 7")["items"]) == 1
    shown = get(client, f"/api/traces/{first.json()['id'][:10]}")
    assert shown["trace"]["messages"][1]["content"] == "<script>"
    found = get(client, "/api/traces/compare", a=page["items"][0]["id"], b=page["items"][1]["id"])
    assert [row["key"] for row in found["differences"]] == ["messages.0.content"]


def test_traces_that_are_none_are_refused_and_nothing_of_their_batch_is_kept(client: TestClient) -> None:
    refuse(client.post("/api/traces", json={"prompt": "alone"}), 422, "invalid-trace")
    before = get(client, "/api/traces", limit=1000)["items"]
    batch = {"traces": [make_conversation(1000), {"messages": "none"}]}
    refuse(client.post("/api/traces/batch", json=batch), 422, "invalid-trace")
    refuse(client.post("/api/traces/batch", json={"traces": [make_conversation(1)] * 1001}), 422, "invalid-value")
    refuse(client.post("/api/traces/batch", json={"traces": [], "more": 1}), 422, "invalid-value")
    large = {"messages": [{"role": "user", "content": "x" * 50_000}] * 25}
    refuse(client.post("/api/traces", json=large), 413, "trace-too-large")
    assert get(client, "/api/traces", limit=1000)["items"] == before


def test_versions_are_built_once_compared_and_exported(client: TestClient) -> None:
    client.post("/api/traces/batch", json={"traces": [make_conversation(number) for number in range(2000, 2020)]})
    body = {"key": "web@v1", "select": "random", "limit": 10, "split": 0.2}
    built = client.post("/api/datasets", json=body)
    assert built.status_code == 201, built.text
    assert built.json()["num_records"] == 10
    assert client.post("/api/datasets", json=body).status_code == 200
    refuse(client.post("/api/datasets", json=body | {"limit": 9}), 409, "immutable-record")
    client.post("/api/datasets", json=body | {"key": "web@v2", "limit": 12})
    assert get(client, "/api/datasets")["items"][0]["key"] == "web@v2"
    assert get(client, "/api/datasets/diff", before="web@v1", after="web@v2")["num_added"] == 2
    lines = client.get("/api/datasets/web@v1/export.jsonl", params={"format": "messages"}).text.splitlines()
    assert len([json.loads(line) for line in lines]) == 10
    refuse(client.get("/api/datasets/web@v1/export.jsonl", params={"split": "none"}), 422, "invalid-value")
    refuse(client.get("/api/datasets/web@v1/export.jsonl", params={"format": "parquet"}), 422, "invalid-value")
    refuse(client.post("/api/datasets", json=body | {"sources": ["web@v1"]}), 422, "invalid-value")
    taken = client.post("/api/datasets", json={"key": "web@v3", "sources": ["web@v1"]})
    assert taken.json()["num_records"] == 10
    assert client.post("/api/datasets", json={"key": "web@v4", "sources": ["web@v1", "web@v2"]}).status_code == 201


# ── evaluations, models, lineage ──────────────────────────────────────────────────────────────────────────────────────
def test_evaluations_are_listed_shown_and_ranked(client: TestClient, workspace: Path) -> None:
    (row,) = get(client, "/api/evaluations", evalset="asked", model="sentences@latest")["items"]
    assert get(client, "/api/evaluations", evalset="other")["items"] == []
    shown = get(client, f"/api/evaluations/{row['evaluation_id'][:12]}")
    assert "answer_correct" in shown["estimates"]
    first = get(client, f"/api/evaluations/{row['evaluation_id']}/items", limit=2)
    rest = get(client, f"/api/evaluations/{row['evaluation_id']}/items", limit=2, after=first["next"])
    assert [one["item"]["id"] for one in first["items"] + rest["items"]] == ["i0", "i1", "i2"]
    assert first["items"][0]["scores"]
    board = get(client, "/api/evaluations/leaderboard", evalset=row["evalset"], metric="answer_correct")
    assert board["groups"][0]["rows"][0]["estimate"]["n"] == 3
    refuse(client.get("/api/evaluations/leaderboard", params={"evalset": "x", "metric": "none"}), 422, "invalid-value")
    refuse(client.get(f"/api/evaluations/{'0' * 64}"), 404, "unknown-ref")
    same = get(client, "/api/evaluations/compare", a=row["evaluation_id"], b="sentences@latest")
    assert same["num_items"] == 3
    outside = workspace / "outside.json"
    outside.write_text("{}", encoding="utf-8")
    refuse(client.get("/api/evaluations/compare", params={"a": str(outside), "b": str(outside)}), 404, "unknown-ref")


def test_a_model_is_judged_promoted_with_a_reason_and_rolled_back(client: TestClient) -> None:
    assert get(client, "/api/models")["items"][0]["stage"] == "latest"
    asked = {"stage": "staging", "ref": "sentences@latest"}
    decision = client.post("/api/models/sentences/gate", json=asked)
    assert decision.status_code == 201, decision.text
    assert decision.json()["outcome"] != "pass"
    refuse(client.post("/api/models/sentences/promote", json=asked), 409, "not-decided")
    refuse(client.post("/api/models/sentences/promote", json=asked | {"override": True}), 422, "invalid-value")
    over = asked | {"override": True, "why": "it is the first one"}
    moved = client.post("/api/models/sentences/promote", json=over)
    assert moved.status_code == 200, moved.text
    assert moved.json()["why"] == "it is the first one"
    history = get(client, "/api/models/sentences/history", stage="staging")["items"]
    assert [one["action"] for one in history] == ["override"]
    refuse(client.post("/api/models/sentences/rollback", json={"stage": "staging"}), 404, "unknown-ref")
    assert len(client.get("/api/models/sentences/download", params={"stage": "staging"}).content) > 1000
    lineage = get(client, "/api/lineage/sentences@staging", check=True)
    assert lineage["findings"] == []
    assert {"release", "checkpoint", "run"} <= {node["kind"] for node in lineage["nodes"]}


# ── what is refused alike everywhere ──────────────────────────────────────────────────────────────────────────────────
def test_bodies_that_are_no_json_are_refused(client: TestClient) -> None:
    kind = {"content-type": "application/json"}
    for body in (
        b"{",
        b"",
        b"\xff",
        b'{"manifest": {"seed": NaN}}',
        b'{"manifest": {"name": "\\ud800"}}',
        b"[" * 100_000,
    ):
        answer = client.post("/api/training/start", content=body, headers=kind)
        assert answer.status_code in (400, 422), (body[:20], answer.text)
        assert answer.json()["error"]["name"] in ("malformed-request", "invalid-value", "unknown-key")


def test_unknown_fields_are_named(client: TestClient) -> None:
    error = refuse(client.post("/api/training/start", json={"manifests": {}}), 422, "unknown-key")
    assert "manifests" in error["message"]
    refuse(client.post("/api/training/start", json={"manifest": {"sed": 1}}), 422, "unknown-key")
    refuse(client.post("/api/training/start", json={}), 422, "invalid-value")
    refuse(client.post("/api/training/start", json={"plan": "0" * 64}), 404, "unknown-ref")
    refuse(client.get("/api/training/jobs", params={"limit": 0}), 422, "invalid-value")
    refuse(client.get("/api/training/jobs", params={"after": "none"}), 404, "unknown-ref")
    refuse(client.post("/api/training/stop/none"), 404, "unknown-ref")


def test_a_plan_that_was_asked_for_before_is_started_by_its_id(client: TestClient) -> None:
    run_id = get(client, "/api/runs")["items"][0]["run_id"]
    plan_id = get(client, f"/api/runs/{run_id}")["plan_id"]
    started = client.post("/api/training/start", json={"plan": plan_id, "priority": 5})
    assert started.status_code == 202, started.text
    assert started.json()["manifest"]["train"]["steps"] == 10
    assert get(client, "/api/training/status")["training"]["queuedJobs"] == 1
    assert client.post(f"/api/training/stop/{started.json()['job_id']}").json()["state"] == "cancelled"


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not(workspace: Path) -> None:
    app = create_app(workspace, Settings(has_worker=False, max_body_bytes=1000))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        refuse(
            client.post("/api/traces", json=make_conversation(0) | {"meta": {"x": "y" * 2000}}), 413, "body-too-large"
        )

        def chunks() -> Iterator[bytes]:
            for _ in range(30):
                yield b" " * 100

        kind = {"content-type": "application/json"}
        refuse(client.post("/api/traces", content=chunks(), headers=kind), 413, "body-too-large")


# ── every route, asked for nonsense ───────────────────────────────────────────────────────────────────────────────────
NONSENSE = (
    "x",
    "%00",
    "%2e%2e",
    "a" * 300,
    "%F0%9F%8C%8A",
    "%ff",
    "@",
    "sentences@",
    "a@1",
    "abcd@99999999999999999999",
    "-1",
    "'\"",
)
BODIES = (
    {},
    {"manifest": {"train": {"steps": "many"}}},
    {"manifest": {"name": "../x"}},
    {"manifest": []},
    {"plan": "\0"},
    {"key": "a@b", "filters": ["x"]},
    {"key": "a@latest"},
    {"key": "a@b", "by": "\0", "select": "top"},
    {"stage": "staging", "ref": "\0", "why": "\0"},
    {"stage": "none", "ref": "x"},
    {"stage": "production", "to": 5},
    {"traces": [{}]},
    {"messages": [{"role": "user", "content": "\0"}], "meta": {"deep": [[[[{}]]]]}},
    [],
    "text",
    None,
)


def test_no_route_breaks_whatever_it_is_asked_and_each_status_is_documented(client: TestClient) -> None:
    documented = client.get("/openapi.json").json()["paths"]
    asked = 0
    for path, methods in documented.items():
        for method, operation in methods.items():
            statuses = {int(status) for status in operation["responses"]}
            queries = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            for number, word in enumerate(NONSENSE):
                filled = path
                for one in operation.get("parameters", ()):
                    filled = filled.replace(f"{{{one['name']}}}", word) if one["in"] == "path" else filled
                query = "&".join(f"{name}={word}" for name in queries[number % 2 :])
                bodies = BODIES if method == "post" and word == "x" else (BODIES[number],)
                for body in bodies:
                    answer = client.request(method, f"{filled}?{query}", json=body if method == "post" else None)
                    asked += 1
                    assert answer.status_code in statuses, (
                        method,
                        filled,
                        query,
                        body,
                        answer.status_code,
                        answer.text,
                    )
                    assert answer.status_code != 500, (method, filled, query, body, answer.text)
                    if answer.status_code >= 400:
                        assert set(answer.json()) == {"error"}
    assert asked > 400
