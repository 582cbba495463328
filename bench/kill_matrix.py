"""Real processes killed at random instants of a run: how many of the runs end as if nothing had happened?

    python bench/kill_matrix.py [--kills 100] [--backends reference torch] [--seed 0] [--steps 40]

First a run is left alone. Then, for each trial, the same plan is begun in a workspace of its own and killed (SIGKILL): up to
two steps' time after its event stream has come to a place drawn evenly from what is left of it. Sometimes it is killed again as
it goes on, and at last it is let to its end. It counts as equal where the final weights, the optimizer's state and every event
apart from its times are the same to the bit. Only kills that met a process that was still training are counted.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from trainwright.core.manifest import parse_manifest

SETTINGS = (
    "data.split.block_lines=10",
    "model.hidden_size=16",
    "model.heads=2",
    "model.head_dim=8",
    "model.intermediate_size=32",
    "model.layers=2",
    "train.batch_size=8",
    "train.accumulation=2",
    "train.max_seq_length=32",
    "train.validate_every=9",
    "train.checkpoint_every=2",
    "train.keep_last=2",
    "train.dropout=0.1",
    "train.sample_tokens=4",
    "compute.threads=1",
    "compute.dtype=float32",
    "compute.compile=false",
)
SHARE_KILLED_AGAIN = 0.3
READY = "ready"
OVER = "after training"


def main() -> int:
    """Run the matrix, or be one of its processes."""
    arguments = parse_arguments()
    if arguments.child:
        train(arguments.child, arguments.backends[0], arguments.steps)
        return 0
    results = [count_equal(backend, arguments) for backend in arguments.backends]
    return 0 if all(results) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="kills for each backend")
    parser.add_argument("--backends", nargs="+", default=["reference", "torch"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# ── the process that is killed ────────────────────────────────────────────────────────────────────────────────────────
def train(root: Path, backend: str, num_steps: int) -> None:
    """Prepare, then begin or go on with the workspace's only run; say what it came to."""
    from trainwright.pipeline.execute import begin_run, execute
    from trainwright.pipeline.inspect import find_unfinished
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.prepare import prepare
    from trainwright.store.workspace import open_workspace

    text = root.parent / "text.txt"
    asked = (f"data.corpus={text}", f"train.steps={num_steps}", f"compute.framework={backend}")
    manifest = parse_manifest(None, [*SETTINGS, *asked])
    journal = Journal(Silence())
    with open_workspace(root) as workspace:
        prepared = prepare(manifest, workspace, journal)
        unfinished = find_unfinished(workspace, prepared.plan.id)
        run = workspace.find_run_folder(unfinished[0].id) if unfinished else begin_run(prepared, "kills", workspace)
        print(READY, flush=True)
        with run.lock():
            execute(prepared, run, workspace, journal, [])
        print(json.dumps(describe_end(run.path, num_steps)), flush=True)


class Silence:
    """A screen that nobody looks at."""

    def start_phase(self, name): ...

    def finish_phase(self, name, status, elapsed_s, detail=""): ...

    def show_progress(self, what, done, total): ...

    def catch_up(self, events): ...

    def announce(self, text): ...


def describe_end(run: Path, num_steps: int) -> dict[str, str]:
    """Digests of the final arrays, and of the events without their times."""
    last = run / "checkpoints" / f"step-{num_steps:08d}"
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    told = {name: hashlib.sha256((last / name).read_bytes()).hexdigest() for name in names}
    state = json.loads((last / "state.json").read_bytes())
    told["state.json"] = json.dumps({key: value for key, value in state.items() if key != "run"}, sort_keys=True)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    for event in events:
        del event["timing"]
    return told | {"events": hashlib.sha256(json.dumps(events).encode()).hexdigest()}


# ── the one that kills ────────────────────────────────────────────────────────────────────────────────────────────────
def count_equal(backend: str, arguments: argparse.Namespace) -> bool:
    """Kill `arguments.kills` times and print what came of it. Whether every run ended the same."""
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="kill-matrix-") as folder:
        lines = (f"{number} and {number % 7} are {number + number % 7}." for number in range(400))
        Path(folder, "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        first = Path(folder, "undisturbed")
        expected, train_s = run_to_the_end(first, backend, arguments)
        (stream,) = first.glob("runs/*/events.jsonl")
        num_bytes, step_s = stream.stat().st_size, train_s / arguments.steps
        shutil.rmtree(first / "runs")  # what is left has no run to go on with
        num_kills = num_equal = num_trials = 0
        where: Counter[str] = Counter()
        while num_kills < arguments.kills:
            root = Path(folder, "trial")
            shutil.copytree(first, root)  # text and tokens are there, and no run
            num_trials += 1
            kills = 0
            for _ in range(1 + (num_kills + 1 < arguments.kills and draw.random() < SHARE_KILLED_AGAIN)):
                instant = (draw.random(), draw.uniform(0, 2 * step_s))
                if kill(start(root, backend, arguments), root, num_bytes, *instant):
                    kills += 1
                    where[find_stage(root)] += 1
            num_kills += kills
            end, _ = run_to_the_end(root, backend, arguments)
            if end == expected:
                num_equal += kills
            else:
                different = [key for key in expected if end.get(key) != expected[key]]
                print(f"  {backend}: trial {num_trials} differs in {', '.join(different)}", flush=True)
            shutil.rmtree(root)
            print(f"{backend}: {num_kills} of {arguments.kills} kills", file=sys.stderr, flush=True)
    stages = ", ".join(f"{count} {stage}" for stage, count in where.most_common())
    print(
        f"{backend}: {num_equal} of {num_kills} kills ended in the equal run ({num_trials} runs; {stages})", flush=True
    )
    return num_equal == num_kills


def start(root: Path, backend: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    """A process that trains; returns as it is about to begin."""
    words = ["--child", str(root), "--backends", backend, "--steps", str(arguments.steps)]
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != READY:
        raise SystemExit(f"the process for {backend} failed before it trained")
    return process


def kill(process: subprocess.Popen[str], root: Path, num_bytes: int, share: float, after_s: float) -> bool:
    """Kill a process `after_s` seconds after `share` of the events to come were written; whether it was still training."""
    begun = measure_events(root)
    while measure_events(root) < begun + share * (num_bytes - begun) and process.poll() is None:
        time.sleep(0.001)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL and find_stage(root) != OVER


def measure_events(root: Path) -> int:
    """Bytes of the run's events; 0 before there are any."""
    return sum(path.stat().st_size for path in root.glob("runs/*/events.jsonl"))


def run_to_the_end(root: Path, backend: str, arguments: argparse.Namespace) -> tuple[dict[str, str], float]:
    """What the run came to, and how long it trained."""
    process = start(root, backend, arguments)
    begun = time.perf_counter()
    out, _ = process.communicate()
    if process.returncode != 0:
        return {"error": f"exit code {process.returncode}"}, 0.0
    return json.loads(out), time.perf_counter() - begun


def find_stage(root: Path) -> str:
    """Where the kill met the run, as its folder tells."""
    (run,) = (path for path in (root / "runs").iterdir() if not path.name.startswith("."))
    if any((run / "checkpoints").glob(".*.tmp")):
        return "while a checkpoint was written or removed"
    events = run / "events.jsonl"
    if not events.exists():
        return "before the first event"
    data = events.read_bytes()
    if b'"kind":"run-finished"' in data:
        return OVER
    return "before the first checkpoint" if not any((run / "checkpoints").glob("step-*")) else "between checkpoints"


if __name__ == "__main__":
    sys.exit(main())
