"""What following a run costs it: the time of a step with trackers at work beside the time without, in one run.

    python bench/tracker_cost.py [--trackers tensorboard,wandb] [--steps 300] [--rounds 5]

Runs with and without trackers take turns, so that a machine that slows down slows both. What is printed: the median time of a
step in each (from the runs' own events, the first tenth left out), the ratio of the two, and what a tracker was told by the
end of each run. Nothing is left behind: the workspace is a temporary folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trainwright.watch.events import iter_events

SETTINGS = ("--framework=reference", "--preset=quick", "train.sample_tokens=4", "data.split.block_lines=100")
SMALL = ("--batch-size=8", "--max-seq-length=64", "model.hidden_size=64", "model.heads=2", "model.layers=2")
NUM_LINES = 2000
LENIENT = ("budgets.latency_p95_ms=null", "budgets.inference_rss_mb=null", "budgets.training_peak_mb=null")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", default="tensorboard,wandb")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    plain: list[float] = []
    followed: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        lines = (f"{number} and {number * 7 % 101} make {number + number * 7 % 101}." for number in range(NUM_LINES))
        (Path(folder) / "sums.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for turn in range(arguments.rounds):
            plain.append(_measure(Path(folder), arguments.steps, turn, "[]"))
            followed.append(_measure(Path(folder), arguments.steps, turn, f"[{arguments.trackers}]"))
    ratios = [with_trackers / without for with_trackers, without in zip(followed, plain, strict=True)]
    print(f"{arguments.rounds} rounds of {arguments.steps} steps, trackers: {arguments.trackers}")
    print(f"{'without trackers':20}{statistics.median(plain) * 1e3:>10.2f} ms a step")
    print(f"{'with trackers':20}{statistics.median(followed) * 1e3:>10.2f} ms a step")
    print(f"{'ratio':20}{statistics.median(ratios):>10.3f}   (min {min(ratios):.3f}, max {max(ratios):.3f})")


def _measure(folder: Path, num_steps: int, seed: int, trackers: str) -> float:
    """The median seconds of a step of one run."""
    words = [*SETTINGS, *SMALL, *LENIENT, f"--steps={num_steps}", f"--seed={seed}", f"watch.trackers={trackers}"]
    words.append(f"--corpus={folder / 'sums.txt'}")
    done = subprocess.run(
        [sys.executable, "-m", "trainwright", "run", *words, "--retrain", "--json", "--workspace", str(folder / "ws")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    run_dir = Path(json.loads(done.stdout)["run_dir"])
    for state in sorted((run_dir / "trackers").glob("*.json")):
        said: dict[str, Any] = json.loads(state.read_bytes())
        print(f"  {state.stem}: {said['status']}, {said['num_events']} events")
    steps = [event["timing"]["step_s"] for event in iter_events(run_dir / "events.jsonl") if event["kind"] == "step"]
    return statistics.median(steps[len(steps) // 10 :])


if __name__ == "__main__":
    main()
