"""The main job on real text, through the real command line."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

DATA = os.environ.get("TRAINWRIGHT_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DATA is None, reason="TRAINWRIGHT_DATA does not name a folder with real text"),
]


UNTIMED = "budgets.latency_p95_ms=null"
"""How long an answer takes depends on what else this machine does; a test of its own holds it against a budget."""


def trainwright(workspace, *arguments):
    finished = subprocess.run(
        [sys.executable, "-m", "trainwright", *arguments, "--workspace", str(workspace), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def shakespeare(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("file") / "workspace"
    corpus = Path(str(DATA)) / "tinyshakespeare" / "input.txt"
    output = workspace.parent / "out"
    arguments = [
        "run",
        "--corpus",
        str(corpus),
        "--preset",
        "quick",
        "--steps",
        "60",
        "--output-dir",
        str(output),
        UNTIMED,
    ]
    return trainwright(workspace, *arguments), workspace, output


@pytest.fixture
def web_server():
    handler = functools.partial(_QuietHandler, directory=str(Path(str(DATA)) / "tinyshakespeare"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):  # noqa: A002 - the base class calls it so
        pass


def test_plays_become_a_model_with_every_artefact(shakespeare):
    document, _, output = shakespeare
    assert document["status"] == "completed"
    assert document["final_metrics"]["bits_per_byte"] < 3.0
    expected = {"corpus.txt", "tokenizer.model", "tokenizer.json", "model.safetensors", "config.json"}
    expected |= {"training_metrics.json", "report.html", "loss.png"}
    assert expected <= {path.name for path in output.iterdir()}
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_text_from_a_url_gives_the_same_weights(shakespeare, web_server, tmp_path):
    document, _, _ = shakespeare
    arguments = ["run", "--corpus", f"{web_server}/input.txt", "--preset", "quick", "--steps", "60", UNTIMED]
    # The way of computing is chosen by measuring; pin the one that was chosen before.
    compute = trainwright(shakespeare[1], "runs", "show", document["run_id"])["plan"]["compute"]
    pinned = [f"compute.dtype={compute['dtype']}", f"compute.compile={str(compute['compile']).lower()}"]
    again = trainwright(tmp_path / "workspace", *arguments, *pinned)
    assert again["weights_digest"] == document["weights_digest"]


def test_what_was_trained_can_be_asked(shakespeare):
    document, workspace, _ = shakespeare
    answer = trainwright(workspace, "generate", "input@latest", "ROMEO:", "--max-tokens", "30")
    assert answer["run_id"] == document["run_id"]
    assert answer["text"]
