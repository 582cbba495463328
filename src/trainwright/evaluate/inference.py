"""What inference costs: latency and memory of a fresh process that loads one model and answers a set of prompts.

A process of its own, because memory that training once used would otherwise be counted. Run as a module it is that
process: one JSON request on standard input, one JSON answer on standard output.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainwright.core.errors import ValidationFailed
from trainwright.core.records import Compute, Frozen, Shape

NUM_NEW_TOKENS = 32
"""Tokens written after each prompt; one latency is the time from the prompt to the last of them."""

LONGEST_S, FEWEST_PROMPTS = 30.0, 10
"""A model that is too slow for all prompts is measured over those that it answers in this time, but over so many at least."""


class InferenceRequest(Frozen):
    """What the fresh process is to do. `base`: files of weights that the checkpoint does not hold, but for `left_out`."""

    checkpoint: str
    shape: Shape
    base: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    compute: Compute
    prompts: tuple[tuple[int, ...], ...]
    num_new_tokens: int = NUM_NEW_TOKENS


class InferenceCost(Frozen):
    """What it found: seconds per prompt, tokens written per second, resident memory in bytes (now and peak)."""

    latencies_s: tuple[float, ...]
    tokens_per_s: float
    rss_bytes: int
    peak_rss_bytes: int
    load_s: float

    def latency_ms(self, percentile: float) -> float:
        """Latency at a percentile (0 … 100), milliseconds."""
        return float(np.percentile(self.latencies_s, percentile)) * 1000


def measure_inference(
    checkpoint: Path,
    shape: Shape,
    compute: Compute,
    prompts: Sequence[Sequence[int]],
    timeout_s: float = 600,
    *,
    base: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> InferenceCost:
    """Start a fresh process and let it answer `prompts` (token ids). Raises ValidationFailed where it does not come back."""
    request = InferenceRequest(
        checkpoint=str(checkpoint),
        shape=shape,
        base=base,
        left_out=left_out,
        compute=compute.for_writing(),
        prompts=tuple(tuple(prompt) for prompt in prompts),
    )
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "trainwright.evaluate.inference"],
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValidationFailed(
            f"Inference did not answer {len(prompts)} prompts within {timeout_s:.0f} s.",
            next_step="Look at what else the machine is doing, or train a smaller model.",
        ) from error
    if finished.returncode != 0:
        raise ValidationFailed(
            "The trained model could not be used by a fresh process.",
            why=finished.stderr.strip().splitlines()[-1] if finished.stderr.strip() else f"exit {finished.returncode}",
            next_step="Run `trainwright doctor`; if it finds nothing, please report this.",
        )
    return InferenceCost.model_validate_json(
        finished.stdout.splitlines()[-1]
    )  # a framework may greet on the lines before


def answer_request(request: InferenceRequest) -> InferenceCost:
    """Load the model and answer the prompts greedily, exactly `num_new_tokens` long, timing each: all of them, or, where that
    takes too long, the first ones.
    """
    import psutil

    from trainwright.backends.catalogue import open_backend
    from trainwright.backends.measure import read_peak_rss_bytes
    from trainwright.evaluate.generation import Decoding, iter_generated
    from trainwright.store.checkpoints import read_weights
    from trainwright.store.model_folder import read_tensors

    begun = time.perf_counter()
    weights = read_tensors(map(Path, request.base), request.left_out) | read_weights(Path(request.checkpoint))
    model = open_backend(request.compute.framework).open_model(request.shape, weights, request.compute)
    del weights
    load_s = time.perf_counter() - begun
    decoding = Decoding(max_tokens=request.num_new_tokens, temperature=0)
    for _ in iter_generated(model, request.prompts[0], decoding, end=None):  # the first answer pays for warming up
        pass
    latencies: list[float] = []
    for prompt in request.prompts:
        if sum(latencies) > LONGEST_S and len(latencies) >= FEWEST_PROMPTS:
            break
        begun = time.perf_counter()
        for _ in iter_generated(model, prompt, decoding, end=None):
            pass
        latencies.append(time.perf_counter() - begun)
    memory = psutil.Process().memory_info()
    return InferenceCost(
        latencies_s=tuple(latencies),
        tokens_per_s=request.num_new_tokens * len(latencies) / sum(latencies),
        rss_bytes=memory.rss,
        peak_rss_bytes=read_peak_rss_bytes(),
        load_s=load_s,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer_request(InferenceRequest.model_validate_json(sys.stdin.read())).model_dump()))
