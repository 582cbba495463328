"""What a sampled audit costs: (time of `verify --sample 0.1`) / (time of the run), both measured here, one after the other.

    python bench/verify_cost.py [--framework reference] [--steps 2000] [--sample 0.1] [--workspace DIR]

Both are whole commands, from the start of their process to its end: what starting Python costs counts on both sides. The
run has to be long enough for that to be little, and keeps all of its checkpoints, so that the sample can be drawn from
anywhere in it. Target: 0.12 for a sample of 0.1. Told in wall time, and in processor time, which a busy machine distorts less.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_CHECKPOINTS = 20
MODEL = (
    "model.hidden_size=64",
    "model.heads=4",
    "model.head_dim=16",
    "model.intermediate_size=128",
    "model.layers=2",
    "tokenizer.vocab_size=1024",
    "train.batch_size=8",
    "train.max_seq_length=64",
    "train.early_stopping.patience=0",
    "compute.threads=1",
    "budgets.latency_p95_ms=null",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", default="reference")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--sample", type=float, default=0.1)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, arguments.workspace or Path(scratch))


def measure(arguments: argparse.Namespace, workspace: Path) -> None:
    every = arguments.steps // NUM_CHECKPOINTS
    length = (
        f"train.steps={arguments.steps}",
        f"train.checkpoint_every={every}",
        f"train.validate_every={every}",
        f"train.keep_last={2 * NUM_CHECKPOINTS}",
    )
    options = (f"--framework={arguments.framework}", f"--workspace={workspace}", "--json")
    run_s, run_cpu_s, run = time_command("run", "--corpus=builtin:stories", *MODEL, *length, *options)
    sample = (f"--sample={arguments.sample}", f"--workspace={workspace}", "--json")
    verify_s, verify_cpu_s, verified = time_command("verify", run["run_id"], *sample)
    print(f"run: {run_s:.1f} s, {run_cpu_s:.1f} s of processor, {arguments.steps:,} steps on {arguments.framework}")
    print(
        f"verify --sample {arguments.sample}: {verify_s:.1f} s, {verify_cpu_s:.1f} s of processor, "
        f"{verified['share']:.1%} of the steps computed again"
    )
    print(f"ratio: {verify_s / run_s:.3f} of the time, {verify_cpu_s / run_cpu_s:.3f} of the processor's")


def time_command(*words: str) -> tuple[float, float, dict[str, Any]]:
    """Seconds, seconds of processor over all of its processes, and what it printed."""
    begun, cpu_begun_s = time.perf_counter(), count_cpu_s()
    finished = subprocess.run(
        [sys.executable, "-m", "trainwright", *words], capture_output=True, text=True, check=False
    )
    elapsed_s = time.perf_counter() - begun
    if finished.returncode:
        sys.exit(finished.stderr)
    document: dict[str, Any] = json.loads(finished.stdout)
    return elapsed_s, count_cpu_s() - cpu_begun_s, document


def count_cpu_s() -> float:
    """Seconds of processor that the children of this process had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
