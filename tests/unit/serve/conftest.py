"""A small workspace with something of everything in it, made once, and the service over a copy of it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import MagicMock

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.core.manifest import parse_manifest
from trainwright.core.records import Dimension, Gate, Objective, Policy, Sweep, Trial, TrialOutcome
from trainwright.core.traces import parse_trace
from trainwright.data.selection import Selection
from trainwright.pipeline.datasets import build_version
from trainwright.pipeline.decide import decide
from trainwright.pipeline.evaluate import evaluate_by_likelihood
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.promote import promote
from trainwright.pipeline.questions import Request, settle
from trainwright.pipeline.run import Options, run
from trainwright.pipeline.subjects import find_subject
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.store.traces import import_batch
from trainwright.store.workspace import Workspace, open_workspace

ACTS = ("saw", "found", "lost", "carried", "painted", "counted", "wanted")
THINGS = ("birds", "pigs", "yellow hats", "rivers", "little houses")
SCRIPT = "<script>document.title='taken'</script>"
SMALL = {
    "train.steps": 12, "train.batch_size": 4, "train.max_seq_length": 32, "train.validate_every": 6,
    "train.checkpoint_every": 6, "train.sample_tokens": 4, "train.watch_every": 4, "model.hidden_size": 16,
    "model.heads": 2, "model.head_dim": 8, "model.intermediate_size": 32, "model.layers": 1,
    "tokenizer.vocab_size": 300, "data.split.block_lines": 20, "compute.framework": "reference", "compute.threads": 1,
    "budgets.latency_p95_ms": None,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A workspace's folder, and ids of what is in it."""

    root: Path
    runs: tuple[str, str]
    evaluations: tuple[str, str]
    traces: tuple[str, str]
    dataset: str
    decision: str
    checkpoints: tuple[str, str]
    sweep: str


def put_sweep(workspace: Workspace, run_id: str) -> str:
    """A sweep on paper: 24 trials with two seeds, all of them said to be one run, the last one pruned."""
    sweep = Sweep(
        name="rates",
        dataset="a" * 64,
        manifest={},
        overrides=(),
        space=(
            Dimension(key="train.optimizer.learning_rate", kind="float", low=0.001, high=0.1, log=True),
            Dimension(key="train.schedule.name", kind="categorical", values=(SCRIPT, "linear")),
        ),
        sampler="random",
        num_trials=24,
        num_seeds=2,
        objective=Objective(metric="bits_per_byte", direction="minimize"),
        pruning=None,
        seed=0,
    )
    workspace.ledger.put(sweep)
    for number in range(1, 25):
        values = {
            "train.optimizer.learning_rate": 0.001 * 1.2**number,
            "train.schedule.name": (SCRIPT, "linear")[number % 2],
        }
        for repeat in range(1 if number == 24 else 2):
            trial = Trial(
                sweep=sweep.id, number=number, repeat=repeat, values=values, seed=repeat, proposed_by="a test",
                plan=None, reused=run_id,
            )  # fmt: skip
            is_pruned = number == 24
            outcome = TrialOutcome(
                trial=trial.id, status="pruned" if is_pruned else "completed", run=run_id, report=None,
                value=2 - number / 20 + repeat / 10, step=4 if is_pruned else None, validations=(),
                error=f"trial-pruned: {SCRIPT}" if is_pruned else None,
            )  # fmt: skip
            workspace.ledger.put(trial)
            workspace.ledger.put(outcome)
    return sweep.id


def write_corpus(path: Path, animals: tuple[str, ...]) -> Path:
    path.write_text(
        "".join(f"The {animals[n % len(animals)]} {ACTS[n % 7]} {n % 9} {THINGS[n % 5]}.\n" for n in range(600)),
        encoding="utf-8",
    )
    return path


def train(folder: Path, name: str, animals: tuple[str, ...], workspace: Workspace) -> str:
    corpus = write_corpus(folder / f"{name}.txt", animals)
    manifest = parse_manifest(None, flags={**SMALL, "data.corpus": str(corpus), "name": name})
    finished = run(manifest, workspace, Journal(MagicMock()), [], Options())
    return finished.run.id


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two runs, evaluated, one of them released over the other; traces with hostile texts, in a version."""
    folder = tmp_path_factory.mktemp("service")
    root = folder / "ws"
    with open_workspace(root) as workspace:
        runs = (
            train(folder, "first", ("cat", "dog"), workspace),
            train(folder, "second", ("cow", "hen", "pig"), workspace),
        )
        evalset = folder / "animals.jsonl"
        items = [
            {
                "id": f"{SCRIPT}{n}",
                "prompt": f"The cat saw {n} ",
                "expected_answer": "birds",
                "choices": ["birds", "pigs"],
            }
            for n in range(6)
        ]
        evalset.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        question, _, _ = settle(Request(evalset, None, "likelihood", None, None, None, None, None))
        evaluations = tuple(
            evaluate_by_likelihood(find_subject(ref, workspace), question, workspace, lambda done, total: None).record
            for ref in runs
        )
        policy = Policy(
            name="small",
            stage="staging",
            baseline="current",
            alpha=0.05,
            max_overlap=None,
            gates=(Gate(kind="at_least", metric="choice_correct", suite="animals", limit=0.99),),
        )
        decision = decide("zoo", "staging", runs[0], policy, workspace, who="a person")
        for ref, why in ((runs[0], f"the first {SCRIPT}"), (runs[1], "the second")):
            for stage in ("staging", "production"):
                promote("zoo", stage, workspace, who="a person", why=why, ref=ref, override=True)
        traces = tuple(
            one.id
            for one in import_batch(
                workspace.traces,
                [
                    parse_trace(
                        {
                            "trace_version": "1",
                            "prompt": f"{SCRIPT} What is 1 + 1?",
                            "final_answer": "2",
                            "steps": [{"i": 0, "type": "sum", "content": "<img src=x onerror=alert(1)>"}],
                            "meta": {"category": "<b>odd</b>"},
                        }
                    ),
                    parse_trace(
                        {
                            "messages": [
                                {"role": "user", "content": "Name a fruit."},
                                {"role": "assistant", "content": "An apple."},
                            ],
                            "meta": {"category": "plain"},
                        }
                    ),
                ],
            )
        )
        dataset = build_version("sums@v1", Selection(), workspace, share=0.0, screen=MagicMock()).dataset.id
        sweep = put_sweep(workspace, runs[0])
        checkpoints = tuple(str(one.checkpoint) for one in evaluations)
    return World(
        root=root,
        runs=runs,
        evaluations=(evaluations[0].id, evaluations[1].id),
        traces=(traces[0], traces[1]),
        dataset=dataset,
        decision=decision.id,
        checkpoints=(checkpoints[0], checkpoints[1]),
        sweep=sweep,
    )


@pytest.fixture
def client(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The service over a copy of the world, asked from this machine."""
    monkeypatch.setenv("TRAINWRIGHT_KEYS", str(tmp_path / "keys"))
    shutil.copytree(world.root, tmp_path / "ws")
    with TestClient(create_app(tmp_path / "ws", Settings()), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    """The service over a workspace where nothing was done yet."""
    with TestClient(create_app(tmp_path / "empty", Settings()), base_url="http://127.0.0.1") as client:
        yield client
