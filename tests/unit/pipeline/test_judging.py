"""A judge behind a real endpoint on loopback: what it says is kept, held against labels, and replayed without it."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainwright.core.errors import InvalidRow, InvalidValue, JudgeSilent, SourceNotFound
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judge import identify_judge, read_rubric
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.table_scorers import find_judge_calibration, parse_table_scorer
from trainwright.pipeline.judging import JudgeOptions, calibrate, open_judge
from trainwright.pipeline.scorers import open_parts
from trainwright.store.workspace import open_workspace

RUBRIC = 'name: helpful\nversion: 1\nprompt: "Q: {prompt} A: {output}"\n'
LABELS = [(f"question {n}", "good" if n % 2 else "bad", 5 if n % 2 else 1) for n in range(12)]


class Handler(BaseHTTPRequestHandler):
    """Gives 5 for what is good and 1 for what is bad; garbage and errors for what asks for them."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        self.server.asked.append((self.headers.get("Authorization"), body["model"], prompt))
        text = "no idea" if "garbage" in prompt else f"So.\nVerdict: {5 if 'good' in prompt else 1}"
        status = 400 if "broken" in prompt else 200
        message = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        data = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.asked = []
        serving.url = f"http://127.0.0.1:{serving.server_port}/v1"
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def rubric(tmp_path):
    path = tmp_path / "rubric.yaml"
    path.write_text(RUBRIC, encoding="utf-8")
    return path


def write_labels(tmp_path, rows, header=("prompt", "output", "label")):
    path = tmp_path / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def test_judge_is_held_against_labels_and_its_record_replays_without_it(
    server, workspace, rubric, tmp_path, monkeypatch
):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    labels = write_labels(tmp_path, [*LABELS, ("garbage", "good", 5)])
    record = tmp_path / "said.jsonl"
    judge = open_judge(JudgeOptions("m", server.url, record, "JUDGE_KEY"), workspace)
    found = calibrate(rubric, labels, judge, workspace)
    assert (found.num_rows, found.parse_rate.value) == (13, 12 / 13)
    assert 0.8 < found.kappa.value < 1
    assert found.labelled == digest_bytes(labels.read_bytes())
    assert {(key, model) for key, model, _ in server.asked} == {("Bearer secret", "m")}
    assert b"secret" not in record.read_bytes()
    assert len(server.asked) == 13

    replayed = calibrate(rubric, labels, open_judge(JudgeOptions("m", None, record), workspace), workspace)
    assert replayed.id == found.id
    assert len(server.asked) == 13

    parts = open_parts(workspace, judge)
    assert find_judge_calibration(["ground-truth", f"judge:{rubric}"], parts) == found
    item = EvalItem(id="a", prompt="question 1", expected_answer="x")
    row = parse_table_scorer(f"judge:{rubric}", parts)([item], [Output(id="a", text="good")])[0]
    assert (row.score, row.status) == (1.0, "scored")
    assert "kappa 0." in row.why
    rubric.write_text(RUBRIC.replace("version: 1", "version: 2"), encoding="utf-8")
    assert find_judge_calibration([f"judge:{rubric}"], parts) is None
    row = parse_table_scorer(f"judge:{rubric}", parts)([item], [Output(id="a", text="good")])[0]
    assert "uncalibrated" in row.why


def test_calibration_names_its_rubric_by_what_is_kept(server, workspace, rubric, tmp_path):
    judge = open_judge(JudgeOptions("m", server.url), workspace)
    found = calibrate(rubric, write_labels(tmp_path, LABELS), judge, workspace)
    read = read_rubric(rubric)
    assert workspace.objects.get(found.rubric) == canonical_json(read.model_dump(mode="json"))
    assert (found.rubric, found.judge) == (read.digest, identify_judge("m", read))
    assert list((workspace.root / "judgements").iterdir())


def test_judge_that_does_not_answer_calibrates_nothing(server, workspace, rubric, tmp_path):
    judge = open_judge(JudgeOptions("m", server.url), workspace)
    labels = write_labels(tmp_path, [*LABELS, ("broken", "good", 5)])
    with pytest.raises(JudgeSilent, match="12 of 13"):
        calibrate(rubric, labels, judge, workspace)
    assert workspace.ledger.find("judge-calibration") == []
    with pytest.raises(JudgeSilent):
        calibrate(rubric, write_labels(tmp_path, []), judge, workspace)


@pytest.mark.parametrize("label", ["6", "0", "fine"])
def test_label_that_is_no_points_is_refused(server, workspace, rubric, tmp_path, label):
    judge = open_judge(JudgeOptions("m", server.url), workspace)
    with pytest.raises(InvalidRow, match="line 2"):
        calibrate(rubric, write_labels(tmp_path, [("q", "good", label)]), judge, workspace)


def test_labels_of_pairs_name_a_side(server, workspace, rubric, tmp_path):
    rubric.write_text('name: better\nversion: 1\nkind: pair\nprompt: "{prompt} {first} {second}"\n', encoding="utf-8")
    judge = open_judge(JudgeOptions("m", server.url), workspace)
    labels = write_labels(tmp_path, [("q", "a", "b", "output")], ("prompt", "output", "expected", "label"))
    found = calibrate(rubric, labels, judge, workspace)
    assert (found.num_rows, found.parse_rate.value) == (1, 0)
    with pytest.raises(InvalidRow, match="tie"):
        calibrate(
            rubric,
            write_labels(tmp_path, [("q", "a", "b", "5")], ("prompt", "output", "expected", "label")),
            judge,
            workspace,
        )


def test_judge_that_is_nobody_is_refused(workspace, rubric, tmp_path, monkeypatch):
    with pytest.raises(InvalidValue, match="Nobody"):
        open_judge(JudgeOptions("m"), workspace)
    with pytest.raises(SourceNotFound):
        open_judge(JudgeOptions("m", record=tmp_path / "none.jsonl"), workspace)
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InvalidValue, match="JUDGE_KEY"):
        open_judge(JudgeOptions("m", "http://127.0.0.1:9/v1", None, "JUDGE_KEY"), workspace)
    with pytest.raises(InvalidValue):
        open_judge(JudgeOptions("m", "nowhere"), workspace)
    rubric.write_text("name: x\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match="rubric"):
        calibrate(rubric, tmp_path / "none.csv", None, workspace)
