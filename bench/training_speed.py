"""Training tokens per second: this project beside plain PyTorch (and nanoGPT's model), in one run.

    python bench/training_speed.py [--vocab 8000] [--batch 32] [--seq 128] [--rounds 7] [--nanogpt DIR]

Every contestant has a process of its own and they take turns, so that a machine that slows down slows all of them. What is
printed: median tokens per second, the ratio of our best to the best of the others (median over rounds of paired ratios),
and the share of the matrix-multiply peak that this machine reached in the same run, in the contestant's own dtype.
bfloat16 takes part only where this machine multiplies in it at least as fast as in float32.

`--nanogpt DIR` names a checkout of nanoGPT (its `model.py` is imported from there).
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainwright.backends.catalogue import open_backend
from trainwright.backends.initial import build_initial_weights
from trainwright.backends.protocol import Batch, Rates
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_shape, resolve_training
from trainwright.core.records import Compute, ModelShape

STEPS_PER_TURN = 3
PEAK_S = 1.0
MARK = "seconds: "
WAYS = ("float32", "compiled float32", "compiled bfloat16")
OURS, PLAIN, NANOGPT = "trainwright", "plain PyTorch", "nanoGPT's model"


def main() -> None:
    arguments = _parse()
    if arguments.worker:
        _work(arguments)
        return
    peaks = {dtype: _measure_peak(dtype) for dtype in ("float32", "bfloat16")}
    ways = [way for way in WAYS if "bfloat16" not in way or peaks["bfloat16"] >= peaks["float32"]]
    makers = [OURS, PLAIN, *([NANOGPT] if arguments.nanogpt else [])]
    names = [f"{maker}, {way}" for maker in makers for way in ways]
    workers = {name: _Worker(name) for name in names}
    turns: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name, worker in workers.items():
            turns[name].append(worker.take_turn())
    for worker in workers.values():
        worker.stop()
    _report(arguments, turns, peaks, {name: worker.start_s for name, worker in workers.items()})


def _report(
    arguments: argparse.Namespace, turns: dict[str, list[float]], peaks: dict[str, float], starts: dict[str, float]
) -> None:
    shape = _shape(arguments)
    tokens = arguments.batch * arguments.seq * STEPS_PER_TURN
    flops = _flops_per_token(shape, arguments.seq)
    print(
        f"{shape.num_parameters:,} weights, {arguments.batch} x {arguments.seq} tokens a step, {arguments.rounds} rounds"
    )
    print(
        f"matrix-multiply peak: float32 {peaks['float32'] / 1e9:.0f}, bfloat16 {peaks['bfloat16'] / 1e9:.0f} GFLOP/s\n"
    )
    print(f"{'':36}{'tokens/s':>10}{'min..max':>18}{'of peak':>9}{'first step':>12}")
    for name, seconds in turns.items():
        rates = [tokens / second for second in seconds]
        share = statistics.median(rates) * flops / peaks[_dtype_of(name)]
        spread = f"{min(rates):,.0f}..{max(rates):,.0f}"
        print(f"{name:36}{statistics.median(rates):>10,.0f}{spread:>18}{share:>9.0%}{starts[name]:>11.1f}s")

    def fastest(names: list[str]) -> str:
        return min(names, key=lambda name: statistics.median(turns[name]))

    ours = fastest([name for name in turns if name.startswith(OURS)])
    best = fastest([name for name in turns if not name.startswith(OURS)])
    ratio = statistics.median(other / own for other, own in zip(turns[best], turns[ours], strict=True))
    print(f"\n{ours} beside the best of the others ({best}): {ratio:.2f}x")


def _dtype_of(contestant: str) -> str:
    return contestant.split()[-1]


class _Worker:
    """A contestant's process: told to go, it trains for a turn and says how long that took."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, __file__, "--worker", name, *sys.argv[1:]]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start_s = self._read()

    def take_turn(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> float:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):  # a model of other people's may print what it likes
                return float(line.removeprefix(MARK))
        raise SystemExit("a contestant did not start; see above")


def _work(arguments: argparse.Namespace) -> None:
    open_backend("torch")  # the environment that torch is imported in is the same for all
    step = _build_step(arguments)
    begun = time.perf_counter()
    step()
    print(f"{MARK}{time.perf_counter() - begun}", flush=True)
    step()
    for _ in sys.stdin:
        begun = time.perf_counter()
        for _ in range(STEPS_PER_TURN):
            step()
        print(f"{MARK}{time.perf_counter() - begun}", flush=True)


def _build_step(arguments: argparse.Namespace) -> Callable[[], None]:
    compiled = "compiled" in arguments.worker
    if arguments.worker.startswith(OURS):
        return _build_our_step(arguments, compiled)
    return _build_plain_step(arguments, compiled)


def _build_our_step(arguments: argparse.Namespace, compiled: bool) -> Callable[[], None]:
    shape = _shape(arguments)
    settings = parse_manifest(
        None,
        [
            f"train.batch_size={arguments.batch}",
            f"train.max_seq_length={arguments.seq}",
            f"train.optimizer.name={arguments.optimizer}",
        ],
    )
    training = resolve_training(settings.train, num_windows=1, num_steps=1)
    compute = Compute(
        framework="torch",
        device="cpu",
        dtype="bfloat16" if _dtype_of(arguments.worker) == "bfloat16" else "float32",
        compile=compiled,
        num_threads=arguments.threads,
    )
    weights = build_initial_weights(shape, 0, training.init_scale)
    trainer = open_backend("torch").open_trainer(shape, weights, compute, training)
    rows = _random_rows(arguments)
    batch = Batch(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:]))

    def step() -> None:
        trainer.compute_gradients((batch,), 0)
        trainer.apply_update(Rates(1e-3, 1e-2))

    return step


def _build_plain_step(arguments: argparse.Namespace, compiled: bool) -> Callable[[], None]:
    import torch

    torch.set_num_threads(arguments.threads)
    model = _build_nanogpt(arguments) if "nanoGPT" in arguments.worker else _build_plain(arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    forward = torch.compile(model) if compiled else model
    rows = torch.from_numpy(_random_rows(arguments)).long()
    tokens_BT, targets_BT = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_dtype_of(arguments.worker) == "bfloat16"):
            result = forward(tokens_BT, targets_BT)
        loss = result[1] if isinstance(result, tuple) else result
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return step


def _build_plain(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    sys.path.insert(0, str(Path(__file__).parent))
    from plain_pytorch import PlainDecoder

    return PlainDecoder(_shape(arguments), arguments.seq)


def _build_nanogpt(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(arguments.nanogpt) / "model.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no model.py in {arguments.nanogpt}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    shape = _shape(arguments)
    return module.GPT(
        module.GPTConfig(
            block_size=arguments.seq,
            vocab_size=shape.vocab_size,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_embd=shape.hidden_size,
            dropout=0.0,
            bias=False,
        )
    )


def _shape(arguments: argparse.Namespace) -> ModelShape:
    return resolve_shape(parse_manifest(None), arguments.vocab)


def _random_rows(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    size = (arguments.batch, arguments.seq + 1)
    return np.random.default_rng(0).integers(arguments.vocab, size=size, dtype=np.int32)


def _flops_per_token(shape: ModelShape, seq_length: int) -> float:
    """Forward and backward: 6 per weight (the tied embedding works as the head) and 12·L·H·E·T for attention, as in
    Chowdhery et al. 2022, arXiv:2204.02311, appendix B. Masked positions are counted, as is usual.
    """
    return 6.0 * shape.num_parameters + 12.0 * shape.num_layers * shape.num_heads * shape.head_dim * seq_length


def _measure_peak(dtype: str) -> float:
    """FLOP/s of the best of several square products."""
    import torch

    best = 0.0
    for size in (512, 1024, 2048):
        a, b = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
        begun = time.perf_counter()
        while time.perf_counter() - begun < PEAK_S:
            lap = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2.0 * size**3 / (time.perf_counter() - lap))
    return best


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw", help="ours; the others use AdamW")
    parser.add_argument("--nanogpt", help="a checkout of nanoGPT")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
