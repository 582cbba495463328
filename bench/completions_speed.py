"""What it costs to answer many at once: N requests for a completion together, against the same N one after the other.

    python bench/completions_speed.py [--requests 8] [--tokens 200] [--framework torch] [--layers 6] [--hidden 256]

A model is put into a workspace by training it for a few steps (what it says does not matter, only how much there is to
compute); a service answers over HTTP; both ways are timed in turn, `--rounds` times, and the median ratio is what counts.
The answers are greedy, and it is said how many of them are the same both ways. `--framework transformers` shows a backend that
writes in turn.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from trainwright.data.builtin.stories import iter_stories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--framework", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder, given)
        with open_service(folder) as address, httpx.Client(base_url=address, trust_env=False, timeout=600) as client:
            prompts = [f"The cat saw {number} birds by" for number in range(given.requests)]
            ask(client, prompts[0], given.tokens)  # loads the model
            ratios = [compare(client, prompts, given.tokens) for _ in range(given.rounds)]
    print(f"together over in turn, {given.rounds} times: median {statistics.median(ratios):.2f} x as fast")


def train(folder: Path, given: argparse.Namespace) -> None:
    """A few steps, so that there is a model `said@latest`."""
    corpus = folder / "said.txt"
    corpus.write_text("\n\n".join(iter_stories(num_stories=400)), encoding="utf-8")
    settings = (
        f"data.corpus={corpus}", "tokenizer.vocab_size=1000",
        f"model.layers={given.layers}", f"model.hidden_size={given.hidden}", f"model.heads={given.hidden // 32}",
        "model.head_dim=32", f"model.intermediate_size={given.hidden * 3}", "train.steps=20", "train.batch_size=8",
        "train.max_seq_length=64", "train.sample_tokens=1", f"compute.framework={given.framework}", "compute.compile=false",
        f"compute.device={given.device}", "compute.dtype=float32", "budgets.latency_p95_ms=null",
    )  # fmt: skip
    words = [sys.executable, "-m", "trainwright", "run", f"--workspace={folder / 'ws'}", *settings]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def open_service(folder: Path) -> Iterator[str]:
    """Its address."""
    words = [sys.executable, "-m", "trainwright", "serve", "--port=0", "--json", "--no-worker"]
    process = subprocess.Popen([*words, f"--workspace={folder / 'ws'}"], stdout=subprocess.PIPE, cwd=folder)
    assert process.stdout is not None
    printed = b"".join(iter(process.stdout.readline, b"}\n")) + b"}"
    try:
        yield json.loads(printed)["address"]
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx.Client, prompt: str, num_tokens: int) -> tuple[str, int]:
    """(text, tokens) of a greedy answer."""
    body = {"model": "said@latest", "prompt": prompt, "max_tokens": num_tokens, "temperature": 0}
    answer = client.post("/v1/completions", json=body).raise_for_status().json()
    return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]


def compare(client: httpx.Client, prompts: list[str], num_tokens: int) -> float:
    """How many times as fast all at once are."""
    begun = time.perf_counter()
    in_turn = [ask(client, prompt, num_tokens) for prompt in prompts]
    turned = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as pool:
        together = list(pool.map(lambda prompt: ask(client, prompt, num_tokens), prompts))
    ended = time.perf_counter()
    written = sum(count for _, count in in_turn)
    same = sum(one == other for one, other in zip(in_turn, together, strict=True))
    alone_s, together_s = turned - begun, ended - turned
    print(
        f"in turn {alone_s:.2f} s, {written / alone_s:,.0f} tokens/s; together {together_s:.2f} s, "
        f"{written / together_s:,.0f} tokens/s; {same} of {len(prompts)} answers are the same"
    )
    return alone_s / together_s


if __name__ == "__main__":
    main()
