"""How long the service takes for the first page of very many runs, asked for the first time and again.

    python bench/many_runs.py [--runs 10000]

One tiny run is really done. The others are its plan with other seeds, and its folder and outcome under their ids: they lie in the
workspace as if they had been done there. The service is started anew, so that its first answer is one that nothing was read for.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from service_speed import open_service

from trainwright.core.records import Outcome, Plan, Run
from trainwright.pipeline.inspect import find_runs, outcome_of
from trainwright.store.run_folder import name_run_folder
from trainwright.store.workspace import Workspace, open_workspace

TINY = (
    "compute.framework=reference",
    "compute.threads=1",
    "tokenizer.vocab_size=512",
    "model.hidden_size=16",
    "model.heads=2",
    "model.head_dim=8",
    "model.intermediate_size=32",
    "model.layers=1",
    "train.batch_size=8",
    "train.max_seq_length=32",
    "train.sample_tokens=4",
    "train.steps=50",
    "budgets.latency_p95_ms=null",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = [sys.executable, "-m", "trainwright", "run", *TINY, f"--workspace={folder / 'workspace'}"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        multiply(open_workspace(folder / "workspace"), given.runs)
        with open_service(folder) as (address, process, _), httpx.Client(base_url=address, trust_env=False) as client:
            for path in ("/runs", "/api/runs", "/runs?words=no-such-name"):
                first, *later = [ask(client, path) for _ in range(6)]
                print(f"{path}, {given.runs:,} runs: {first:.3f} s at first, then {statistics.median(later):.3f} s")
            print(f"the service holds {process.memory_info().rss / 1e6:.0f} MB")


def multiply(workspace: Workspace, num_runs: int) -> None:
    """Lay copies of the only run beside it, until there are `num_runs`."""
    (run,) = find_runs(workspace)
    plan, outcome = workspace.ledger.get(run.plan), outcome_of(run, workspace)
    assert isinstance(plan, Plan)
    assert isinstance(outcome, Outcome)
    folder = workspace.find_run_folder(run.id)
    for seed in range(1, num_runs):
        planned = plan.model_copy(update={"seed": plan.seed + seed})
        other = run.model_copy(update={"plan": workspace.ledger.put(planned)})
        workspace.ledger.put(other)
        workspace.ledger.put(outcome.model_copy(update={"run": other.id}))
        copy = workspace.runs / name_run_folder(other)
        copy.mkdir()
        (copy / "plan.json").write_text(planned.model_dump_json(), encoding="utf-8")
        (copy / "run.json").write_text(other.model_dump_json(), encoding="utf-8")
        for name in ("environment.json", "events.jsonl"):
            shutil.copyfile(folder.path / name, copy / name)


def ask(client: httpx.Client, path: str) -> float:
    """Seconds that an answer took."""
    begun = time.perf_counter()
    client.get(path).raise_for_status()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
