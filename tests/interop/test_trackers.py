"""Real trackers: what they were told is read back with their own readers."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright.cli import main as door
from trainwright.watch.events import iter_events, render_event
from trainwright.watch.trackers.points import build_points

pytestmark = pytest.mark.slow

CORPUS = (
    "".join(f"The {who} saw {what} and the moon.\n" for who in ("cat", "dog", "fox", "king") for what in "abcdefgh")
    * 20
)

SETTINGS = (
    "run", "--framework=reference", "--corpus=text.txt", "--batch-size=4", "--max-seq-length=32", "name=small",
    "model.hidden_size=16", "model.heads=2", "model.head_dim=8", "model.intermediate_size=32", "model.layers=1",
    "tokenizer.vocab_size=auto", "data.split.block_lines=20", "train.steps=10", "train.validate_every=4",
    "train.checkpoint_every=3", "train.sample_tokens=4", "compute.threads=1", "budgets.latency_p95_ms=null",
)  # fmt: skip


class Person:
    """Someone who types commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sources = Path(door.__file__).parents[2]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TRAINWRIGHT", "MLFLOW", "WANDB"))
        }
        self.environment = kept | {"PYTHONPATH": str(sources), "OMP_NUM_THREADS": "1"}

    def type(self, *words: str, expect: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "trainwright", *words, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == expect, done.stderr.decode()
        return dict(json.loads(done.stdout))

    @property
    def run_folder(self) -> Path:
        (folder,) = (self.folder / ".trainwright" / "runs").iterdir()
        return folder

    def state(self, tracker: str) -> dict[str, Any]:
        return dict(json.loads((self.run_folder / "trackers" / f"{tracker}.json").read_bytes()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a finished run that nobody tracked, and which looked into its layers and rolled back once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(CORPUS, encoding="utf-8")
    person = Person(folder)
    person.type(*SETTINGS)
    path = person.run_folder / "events.jsonl"
    path.write_bytes(b"".join(map(render_event, make_eventful(list(iter_events(path))))))
    return folder


def make_eventful(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stream of a run that looked into its layers at step 2, skipped step 6 and went back to step 4."""
    told: list[dict[str, Any]] = []
    for event in events:
        told.append(event)
        timing = {"timing": event["timing"]}
        if event["kind"] != "step":
            continue
        if event["step"] == 2:
            group = {"name": "layer 0", "gradient_norm": 0.5, "weight_norm": 2.0, "update_ratio": None}
            group |= {"first_octave": -4, "octaves": [1, 5, 2]}
            told.append(
                {
                    "kind": "anatomy",
                    "step": 2,
                    "groups": [group],
                    "weights": [],
                    "flags": ["vanishing layer 0"],
                    **timing,
                }
            )
        if event["step"] == 5:
            told.append({"kind": "skip", "step": 6, "reason": "loss", "loss": float("nan"), **timing})
            facts = {"to_step": 4, "reason": "skips", "num_rollbacks": 1, "rate_factor": 0.5, "barred_steps": [6]}
            told.append({"kind": "rollback", "step": 6, **facts, **timing})
            told.append({**event, "loss": event["loss"] + 1.0})
    return [{**event, "seq": seq} for seq, event in enumerate(told)]


@pytest.fixture
def person(trained, tmp_path) -> Person:
    shutil.copytree(trained, tmp_path / "copy")
    return Person(tmp_path / "copy")


def run_interrupted_and_resumed(person: Person, *settings: str) -> None:
    """A run that is killed with its trackers at work, and resumed: ten steps in the end."""
    command = [
        sys.executable,
        "-m",
        "trainwright",
        *SETTINGS,
        "train.steps=400",
        "train.checkpoint_every=50",
        *settings,
    ]
    child = subprocess.Popen(command, cwd=person.folder, env=person.environment, stderr=subprocess.DEVNULL)
    stream = person.folder / ".trainwright" / "runs"
    while not any(b'"step":60,' in path.read_bytes() for path in stream.glob("*/events.jsonl")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    person.type("resume")


# ── TensorBoard ───────────────────────────────────────────────────────────────────────────────────────────────────────
def read_board(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    return board.Reload()


def test_tensorboard_reads_what_was_written(person):
    answer = person.type("runs", "track", "small@latest", "--tracker=tensorboard")
    board = read_board(Path(answer["where"]))
    told = {
        event["step"]: event["loss"]
        for event in iter_events(person.run_folder / "events.jsonl")
        if event["kind"] == "step"
    }
    scalars = board.Scalars("train/loss")
    # What the rollback undid is gone, and what came instead is there.
    assert [scalar.step for scalar in scalars] == list(range(1, 11))
    assert [scalar.value for scalar in scalars] == pytest.approx(list(told.values()))
    (histogram,) = board.Histograms("layers/layer 0/gradients")
    assert histogram.histogram_value.bucket == [1, 5, 2]
    assert b"training.optimizer.name" in board.Tensors("plan")[0].tensor_proto.string_val[0]
    assert board.Tensors("sample/Once upon a time")


def test_tensorboard_is_told_nothing_twice(person):
    first = person.type("runs", "track", "small@latest", "--tracker=tensorboard")
    before = {path: path.read_bytes() for path in Path(first["where"]).iterdir()}
    assert person.type("runs", "track", "small@latest", "--tracker=tensorboard") == first
    assert {path: path.read_bytes() for path in Path(first["where"]).iterdir()} == before


def test_tensorboard_takes_another_folder(person, tmp_path):
    answer = person.type("runs", "track", "small@latest", "--tracker=tensorboard", "--folder", str(tmp_path / "boards"))
    assert Path(answer["where"]) == tmp_path / "boards" / person.run_folder.name
    assert read_board(Path(answer["where"])).Scalars("validation/val_loss")


def test_killed_and_resumed_run_has_each_step_once(tmp_path):
    (tmp_path / "text.txt").write_text(CORPUS, encoding="utf-8")
    person = Person(tmp_path)
    run_interrupted_and_resumed(person, "watch.trackers=[tensorboard]")
    assert person.state("tensorboard")["status"] == "complete"
    board = read_board(Path(person.state("tensorboard")["where"]))
    assert [scalar.step for scalar in board.Scalars("train/loss")] == list(range(1, 401))


# ── W&B ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def iter_wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB, chunks with a head of 7 bytes) after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        if kind == 0:
            return
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # full, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read_wandb_rows(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("*.wandb")
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in iter_wandb_records(path)
        if record.HasField("history")
    ]


def test_wandb_keeps_the_history_in_its_offline_folder(person):
    answer = person.type("runs", "track", "small@latest", "--tracker=wandb")
    folder = Path(answer["where"])
    assert folder.name.startswith("offline-run-")
    rows = read_wandb_rows(folder)
    events = list(iter_events(person.run_folder / "events.jsonl"))
    told = [(event["step"], event["loss"]) for event in events if event["kind"] == "step"]
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == told
    assert [row["_step"] for row in rows] == [point.seq for point in build_points(events)]
    assert any(name.startswith("layers/layer 0/gradients") for row in rows for name in row)


def test_wandb_follows_a_run_that_is_killed_and_resumed(tmp_path):
    (tmp_path / "text.txt").write_text(CORPUS, encoding="utf-8")
    person = Person(tmp_path)
    run_interrupted_and_resumed(person, "watch.trackers=[wandb]")
    assert person.state("wandb")["status"] == "complete"
    parts = sorted((person.run_folder / "trackers" / "wandb").glob("offline-run-*"))
    # The folders together have every event; one that is in two of them has the same number there.
    rows = {row["_step"]: row for part in parts for row in read_wandb_rows(part)}
    assert sorted(row["step"] for row in rows.values() if "train/loss" in row) == list(range(1, 401))


# ── MLflow ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """An `mlflow server` on loopback with SQLite below it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1",
                f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}", f"--artifacts-destination={folder / 'files'}",
            ],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert child.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()


def read_mlflow(server: str, project: str, key: str) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """(the run, its metric's history as (step, value)) through MLflow's REST interface."""

    def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.loads(answer.read()))

    experiment = ask(f"experiments/get-by-name?experiment_name={project}")["experiment"]
    (run,) = ask("runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    history = ask(f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={key}&max_results=10000")["metrics"]
    return run, sorted((int(metric["step"]), metric["value"]) for metric in history)


def test_mlflow_server_has_the_run(person, server):
    answer = person.type("runs", "track", "small@latest", "--tracker=mlflow", f"--uri={server}", "--project=whole")
    run, history = read_mlflow(server, "whole", "train/loss")
    events = list(iter_events(person.run_folder / "events.jsonl"))
    told = sorted((event["step"], event["loss"]) for event in events if event["kind"] == "step")
    assert history == told  # what the rollback undid is there too: MLflow keeps what it is sent
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == person.run_folder.name
    assert {"key": "training.num_steps", "value": "10"} in run["data"]["params"]
    assert run["info"]["run_id"] in answer["where"]
    # Again: nothing comes twice.
    person.type("runs", "track", "small@latest", "--tracker=mlflow", f"--uri={server}", "--project=whole")
    assert read_mlflow(server, "whole", "train/loss")[1] == history


def test_mlflow_follows_a_run_that_is_killed_and_resumed(tmp_path, server):
    (tmp_path / "text.txt").write_text(CORPUS, encoding="utf-8")
    person = Person(tmp_path)
    run_interrupted_and_resumed(person, "watch.trackers=[mlflow]", f"watch.uri={server}", "watch.project=resumed")
    # The run's end waits for no tracker longer than some seconds; what was left is brought afterwards.
    person.type("runs", "track", "small@latest", "--tracker=mlflow")
    _, history = read_mlflow(server, "resumed", "train/loss")
    assert [step for step, _ in history] == list(range(1, 401))
