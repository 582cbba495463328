"""What watching a run costs, as a share of its steps' time, measured in one process and one run.

    python bench/monitoring_cost.py [--preset balanced] [--framework torch] [--dtype float32] [--rounds 12]

Plain and watched steps take turns, so that a machine that slows down slows both. What is printed: the extra time of a
watched step, spread over the default cadence, and the time that judging a step and writing its events takes in every step;
both as shares of a plain step. The claim is that together they stay below 1 %.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainwright.backends.catalogue import open_backend
from trainwright.backends.initial import build_initial_weights
from trainwright.backends.protocol import Batch, Gradients, Rates
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_budgets, resolve_num_steps, resolve_shape, resolve_training
from trainwright.core.records import Compute, Plan
from trainwright.core.state import Position, Steadiness
from trainwright.train.stability import find_objection, remember_taken
from trainwright.train.telling import Teller
from trainwright.train.timing import Clock
from trainwright.watch.events import EventLog
from trainwright.watch.memory import current_rss_bytes

RATES = Rates(1e-3, 1e-3)


def main() -> None:
    arguments = _parse()
    plan = _plan(arguments)
    training = plan.training
    weights = build_initial_weights(plan.model, plan.seed, training.init_scale)
    trainer = open_backend(arguments.framework).open_trainer(plan.model, weights, plan.compute, training)
    ids = np.random.default_rng(0).integers(
        plan.model.vocab_size, size=(training.batch_size, training.max_seq_length + 1)
    )
    batch = Batch(np.ascontiguousarray(ids[:, :-1], np.int32), np.ascontiguousarray(ids[:, 1:], np.int32))

    with tempfile.TemporaryDirectory() as folder, EventLog.open(Path(folder) / "events.jsonl") as log:
        teller = Teller(plan, log, Clock(), None)
        position = Position(step=1, num_tokens=1, num_events=0, steadiness=_full_memory(training.stability.window))
        gradients = Gradients(nll_sum=2.0, num_targets=1, num_correct=0, norm=1.0)

        def step() -> None:
            trainer.compute_gradients([batch], 0)
            trainer.apply_update(RATES)

        def watched_step() -> None:
            trainer.compute_gradients([batch], 0)
            anatomy = trainer.apply_watched_update(RATES)
            teller.tell_anatomy(position, anatomy, lambda: (current_rss_bytes(), 0))

        def judge_and_tell() -> None:
            find_objection(training.stability, position.steadiness, gradients.loss, gradients.norm)
            remember_taken(training.stability, position.steadiness, gradients.loss, gradients.norm)
            teller.tell_step(position, 1.0, gradients, RATES)

        step()  # compiles, fills caches
        watched_step()
        turns = [(_time(step), _time(watched_step)) for _ in range(arguments.rounds)]
        telling_s = statistics.median(_time(judge_and_tell) for _ in range(200))

    step_s = statistics.median(plain for plain, _ in turns)
    extra_s = statistics.median(watched - plain for plain, watched in turns)
    watching, telling = extra_s / training.watch_every / step_s, telling_s / step_s
    print(f"{plan.model.num_parameters:,} weights, {training.batch_size} x {training.max_seq_length} tokens a step")
    print(
        f"a step {step_s * 1e3:.1f} ms; watched {extra_s * 1e3:+.1f} ms, every {training.watch_every} steps: {watching:.3%}"
    )
    print(f"judging and telling {telling_s * 1e3:.3f} ms in every step: {telling:.3%}")
    print(f"together {watching + telling:.3%} of a step's time")


def _time(do: Callable[[], None]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def _full_memory(window: int) -> Steadiness:
    values = tuple(np.random.default_rng(1).uniform(1.0, 3.0, window).tolist())
    return Steadiness(losses=values, norms=values)


def _plan(arguments: argparse.Namespace) -> Plan:
    manifest = parse_manifest(None, [f"preset={arguments.preset}"])
    num_steps = resolve_num_steps(manifest.train, 1000, None)
    compute = Compute(
        framework=arguments.framework,
        device=arguments.device,
        dtype=arguments.dtype,
        compile=arguments.compile,
        num_threads=arguments.threads,
    )
    return Plan(
        token_set="0" * 64,
        seed=manifest.seed,
        model=resolve_shape(manifest, 4096),
        training=resolve_training(manifest.train, 1000, num_steps),
        compute=compute,
        budgets=resolve_budgets(manifest),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--framework", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    return parser.parse_args()


if __name__ == "__main__":
    main()
