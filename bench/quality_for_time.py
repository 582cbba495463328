"""How long to a quality: this project's default recipe beside the usual plain one, on the same tokens, in one run.

    python bench/quality_for_time.py --corpus FILE [--vocab 8000] [--plain-epochs 2] [--budgets 90 300] [--collapse]
                                      [--set KEY=VALUE …]

The plain recipe trains for some epochs and says after each where its held-out bits per byte stand; then ours trains, from
the beginning each time, for each of the time budgets. What is printed at the end is how many times sooner ours was where
the plain recipe stood after its last epoch: in wall time, and in processor time, which a busy machine distorts less.

`--collapse` trains both on the file's words alone: every run of white space is one space before anything else happens, as
SentencePiece reads a text when it is left to its own settings. Neither then has to foresee where a line ends, so such
figures are lower; they are still bits per byte of the file as it is. Use it to compare with figures that were made so.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plain_recipe import EpochResult, bits_per_byte, iter_epochs

from trainwright.core.manifest import parse_manifest
from trainwright.pipeline.execute import open_reader
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import prepare_dataset, prepare_tokens
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.watch.progress import ConsoleProgress, make_console


@dataclass(frozen=True)
class Tokens:
    """What both learn from. `num_bytes` are those of the file's held-out part; what was read of them is `share_of_bytes`
    (below 1 where white space was collapsed)."""

    train: NDArray[np.int32]
    held_out: NDArray[np.int32]
    num_bytes: int
    vocab_size: int
    share_of_bytes: float


@dataclass(frozen=True)
class OurResult:
    """One training of ours: what it was allowed, what it took (`cpu_s` of the whole command), where it ended."""

    budget_s: float
    num_steps: int
    training_s: float
    cpu_s: float
    bits_per_byte: float


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="trainwright-bench-") as scratch:
        root = Path(arguments.workspace or scratch)
        held_out_bytes = None
        if arguments.collapse:
            arguments.corpus, held_out_bytes = _write_collapsed(arguments, Path(scratch))
        with open_workspace(root) as workspace:
            tokens = _read_tokens(arguments, workspace, held_out_bytes)
        plain = _train_plainly(tokens, arguments.plain_epochs)
        ours = [_train_ours(arguments, root, budget_s, tokens.share_of_bytes) for budget_s in arguments.budgets]
    if plain:
        _compare(plain, ours)


def _write_collapsed(arguments: argparse.Namespace, folder: Path) -> tuple[str, int]:
    """(a JSONL file of the corpus's blocks with single spaces; bytes of the blocks held out, as they stand in the corpus)."""
    corpus, split = Path(arguments.corpus), parse_manifest(None, _settings(arguments)).data.split
    every = round(1 / split.validation_share)
    with corpus.open(encoding="utf-8") as file:  # a CRLF is read as LF, as the product reads it
        blocks = ["".join(lines) for lines in iter(lambda: list(islice(file, split.block_lines)), [])]
    collapsed = folder / f"{corpus.stem}.jsonl"
    collapsed.write_text("".join(json.dumps({"text": " ".join(block.split())}) + "\n" for block in blocks))
    return str(collapsed), sum(len(block.encode()) for block in blocks[every - 1 :: every])


def _train_plainly(tokens: Tokens, num_epochs: int) -> list[tuple[EpochResult, float]]:
    train, held_out, num_bytes = tokens.train, tokens.held_out, tokens.num_bytes
    print(
        f"{len(train):,} training and {len(held_out) - 1:,} held-out tokens of {num_bytes:,} held-out bytes\n",
        flush=True,
    )
    results = []
    for result in iter_epochs(train, held_out, tokens.vocab_size, num_epochs):
        quality = bits_per_byte(result.val_loss, len(held_out) - 1, num_bytes)
        print(
            f"plain recipe, epoch {result.epoch:>2}: {quality:.4f} bits per byte after {result.wall_s:,.0f} s "
            f"({result.cpu_s:,.0f} s of processor), {result.num_steps:,} steps",
            flush=True,
        )
        results.append((result, quality))
    return results


def _read_tokens(arguments: argparse.Namespace, workspace: Workspace, held_out_bytes: int | None) -> Tokens:
    manifest = parse_manifest(None, _settings(arguments))
    with ConsoleProgress(make_console()) as progress:
        journal = Journal(progress)
        with journal.phase("data") as phase:
            dataset = prepare_dataset(manifest, workspace, journal, phase, skip=False)
        with journal.phase("tokenizer") as phase:
            _, token_set = prepare_tokens(manifest, dataset, workspace, phase, skip=False)
    train = open_reader(token_set, "train", workspace)
    held_out = open_reader(token_set, "validation", workspace)
    held_out_tokens = held_out.read(0, held_out.num_tokens)
    # The first held-out token is judged too: from the token that ends a document, as any document's first one is.
    before = np.concatenate([held_out_tokens[-1:], held_out_tokens])
    bytes_read = token_set.splits["validation"].num_bytes
    num_bytes = held_out_bytes or bytes_read
    return Tokens(train.read(0, train.num_tokens), before, num_bytes, token_set.vocab_size, bytes_read / num_bytes)


def _train_ours(arguments: argparse.Namespace, root: Path, budget_s: float, share_of_bytes: float) -> OurResult:
    command = [sys.executable, "-m", "trainwright", "run", "--workspace", str(root), "--json", "--retrain"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(
        [*command, "--time-budget", f"{budget_s:g}s", *_settings(arguments), "budgets.training_peak_mb=null"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = json.loads(finished.stdout)
    if "run_id" not in document:
        raise SystemExit(f"the run did not end: {document}")
    metrics = json.loads((Path(document["run_dir"]) / "training_metrics.json").read_text())
    result = OurResult(
        budget_s,
        metrics["configuration"]["training"]["num_steps"],
        metrics["final_metrics"]["total_training_time_s"],
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        document["final_metrics"]["bits_per_byte"] * share_of_bytes,
    )
    print(
        f"ours, --time-budget {budget_s:g}s: {result.bits_per_byte:.4f} bits per byte after {result.training_s:,.0f} s of "
        f"training ({result.cpu_s:,.0f} s of processor for the whole command), {result.num_steps:,} steps",
        flush=True,
    )
    return result


def _compare(plain: list[tuple[EpochResult, float]], ours: list[OurResult]) -> None:
    last, quality = plain[-1]
    reached = [result for result in ours if result.bits_per_byte <= quality]
    if not reached:
        print(f"\nours did not reach the plain recipe's {quality:.4f} in any of these budgets")
        return
    first = min(reached, key=lambda result: result.training_s)
    print(
        f"\n{quality:.4f} bits per byte took the plain recipe {last.wall_s:,.0f} s and ours at most {first.training_s:,.0f} s: "
        f"{last.wall_s / first.training_s:.1f}x sooner ({last.cpu_s / first.cpu_s:.1f}x in processor time)"
    )


def _settings(arguments: argparse.Namespace) -> list[str]:
    return [f"data.corpus={arguments.corpus}", f"tokenizer.vocab_size={arguments.vocab}", *arguments.set]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="a text file")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--plain-epochs", type=int, default=2, help="of the plain recipe's 20; 0: without it")
    parser.add_argument("--budgets", type=float, nargs="+", default=[90.0, 300.0], help="seconds of training, for ours")
    parser.add_argument("--collapse", action="store_true", help="read every run of white space as one space")
    parser.add_argument("--workspace", help="keep everything here (default: a folder that is removed at the end)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a manifest key for ours")
    return parser.parse_args()


if __name__ == "__main__":
    main()
