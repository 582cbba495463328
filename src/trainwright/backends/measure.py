"""How fast a plan would train here, in each way the backend could do it: measured, not guessed.

Each candidate is timed in a process of its own (compilation leaves its mark on a process), on random tokens of the plan's
own shapes. Run as a module this is that process: one JSON request on standard input, one JSON answer on standard output.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np

from trainwright.backends.protocol import Batch, Rates, Trainer
from trainwright.core.records import Compute, Frozen, ModelShape, TrainingPlan

MEASURED_S = 2.0
MIN_STEPS, MAX_STEPS = 3, 40


class SpeedRequest(Frozen):
    """One candidate: this model, trained like this, computed like this."""

    shape: ModelShape
    training: TrainingPlan
    compute: Compute


class Speed(Frozen):
    """What a candidate costs, in seconds: `start_s` is the first step less one (compilation), `score_s` one batch scored.

    `peak_flops_per_s` is what a large matrix product reaches there: what a step's own rate is compared with.
    `peak_rss_bytes` is the most memory that the candidate's process had, its framework included.

    Compilation is kept on disk by the framework. `compilation_s` is what the process paid that compiled first, where
    `start_s` was measured again by a second one. `problem` says why a candidate could not be measured; its times are
    then absent. `given_up_s` is for how long one was waited for in vain.
    """

    compute: Compute
    start_s: float | None = None
    step_s: float | None = None
    score_s: float | None = None
    compilation_s: float | None = None
    peak_flops_per_s: float | None = None
    peak_rss_bytes: int | None = None
    problem: str = ""
    given_up_s: float | None = None

    def total_s(self, num_steps: int) -> float:
        """Seconds for a run of that length, first compilation included; infinite where the candidate does not work."""
        if self.start_s is None or self.step_s is None:
            return float("inf")
        return (self.compilation_s or self.start_s) + num_steps * self.step_s


def measure_speed(request: SpeedRequest, timeout_s: float = 300) -> Speed:
    """Time one candidate in a fresh process. A candidate that fails comes back with its problem, never as an error."""
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "trainwright.backends.measure"],
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        return Speed(compute=request.compute, problem=f"not finished after {timeout_s:.0f} s", given_up_s=timeout_s)
    if finished.returncode != 0:
        lines = [line for line in finished.stderr.strip().splitlines() if line.strip()]
        return Speed(compute=request.compute, problem=lines[-1][:300] if lines else f"exit {finished.returncode}")
    return Speed.model_validate_json(finished.stdout.splitlines()[-1])


def time_candidate(request: SpeedRequest) -> Speed:
    """Time one candidate in this process: the first step, then steps for about two seconds, then one scored batch."""
    from trainwright.backends.catalogue import open_backend
    from trainwright.backends.initial import build_initial_weights

    training = request.training
    weights = build_initial_weights(request.shape, seed=0, init_scale=training.init_scale)
    backend = open_backend(request.compute.framework)
    trainer = backend.open_trainer(request.shape, weights, request.compute, training)
    micro_batches = _random_micro_batches(request)
    rates = Rates(training.optimizer.learning_rate, training.optimizer.matrix_learning_rate)

    first_s = _time_step(trainer, micro_batches, rates)
    laps: list[float] = []
    while len(laps) < MIN_STEPS or (sum(laps) < MEASURED_S and len(laps) < MAX_STEPS):
        laps.append(_time_step(trainer, micro_batches, rates))
    step_s = float(np.median(laps))
    trainer.score(micro_batches[0])
    begun = time.perf_counter()
    trainer.score(micro_batches[0])
    score_s = (time.perf_counter() - begun) * len(micro_batches)
    peak_rss_bytes = read_peak_rss_bytes()  # before the large product, which has nothing to do with the plan
    return Speed(
        compute=request.compute,
        start_s=max(first_s - step_s, 0.0),
        step_s=step_s,
        score_s=score_s,
        peak_flops_per_s=backend.measure_peak(request.compute),
        peak_rss_bytes=peak_rss_bytes,
    )


def read_peak_rss_bytes() -> int:
    """The most resident memory that this process ever had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _time_step(trainer: Trainer, micro_batches: tuple[Batch, ...], rates: Rates) -> float:
    begun = time.perf_counter()
    trainer.compute_gradients(micro_batches, dropout_seed=0)
    trainer.apply_update(rates)
    return time.perf_counter() - begun


def _random_micro_batches(request: SpeedRequest) -> tuple[Batch, ...]:
    training = request.training
    size = (training.batch_size // training.accumulation, training.max_seq_length + 1)
    rows = np.random.default_rng(0).integers(request.shape.vocab_size, size=size, dtype=np.int32)
    batch = Batch(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:]))
    return (batch,) * training.accumulation


if __name__ == "__main__":
    speed = time_candidate(SpeedRequest.model_validate_json(sys.stdin.read()))
    sys.stdout.write(json.dumps(speed.model_dump()) + "\n")
