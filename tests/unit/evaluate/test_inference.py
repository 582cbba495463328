"""What inference costs, in a process that is really a fresh one, on the reference backend."""

import pytest

from trainwright.backends.initial import build_initial_weights, optimizer_state_shapes
from trainwright.core.errors import ValidationFailed
from trainwright.core.records import Compute, ModelShape
from trainwright.core.state import Position, TrainingState
from trainwright.evaluate import inference
from trainwright.evaluate.inference import InferenceRequest, answer_request, measure_inference
from trainwright.store.checkpoints import checkpoint_path, write_checkpoint

SHAPE = ModelShape(
    vocab_size=40, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
COMPUTE = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
PROMPTS = [[1, 2, 3], [4], [5, 6]]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def checkpoint(tmp_path):
    import numpy as np

    state = TrainingState(
        weights=build_initial_weights(SHAPE, 1, init_scale=0.1),
        optimizer={name: np.zeros(size, np.float32) for name, size in optimizer_state_shapes(SHAPE, "adamw").items()},
        num_updates=1,
    )
    position = Position(step=1, num_tokens=1, num_events=1)
    write_checkpoint(tmp_path, run_id="a" * 64, fingerprint="b" * 64, state=state, position=position)
    return checkpoint_path(tmp_path, 1)


def test_fresh_process_loads_the_model_and_answers_every_prompt(checkpoint):
    cost = measure_inference(checkpoint, SHAPE, COMPUTE, PROMPTS)
    assert len(cost.latencies_s) == 3
    assert all(latency > 0 for latency in cost.latencies_s)
    assert cost.tokens_per_s == pytest.approx(3 * inference.NUM_NEW_TOKENS / sum(cost.latencies_s))
    assert 10_000_000 < cost.rss_bytes <= cost.peak_rss_bytes < 2_000_000_000
    assert cost.load_s > 0


def test_slow_model_is_measured_over_the_prompts_that_it_had_time_for(checkpoint, monkeypatch):
    prompts = tuple((number,) for number in range(12))
    request = InferenceRequest(
        checkpoint=str(checkpoint), shape=SHAPE, compute=COMPUTE, prompts=prompts, num_new_tokens=2
    )
    assert len(answer_request(request).latencies_s) == 12
    monkeypatch.setattr(inference, "LONGEST_S", 0.0)
    cost = answer_request(request)
    assert len(cost.latencies_s) == inference.FEWEST_PROMPTS
    assert cost.tokens_per_s == pytest.approx(2 * inference.FEWEST_PROMPTS / sum(cost.latencies_s))


def test_damaged_checkpoint_is_refused_and_named(checkpoint):
    weights = checkpoint / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ValidationFailed, match="fresh process") as raised:
        measure_inference(checkpoint, SHAPE, COMPUTE, PROMPTS)
    assert "CheckpointDamaged" in raised.value.why
    assert raised.value.exit_code == 5
    assert raised.value.next_step


def test_process_that_takes_too_long_is_ended(checkpoint):
    with pytest.raises(ValidationFailed, match="did not answer 3 prompts within"):
        measure_inference(checkpoint, SHAPE, COMPUTE, PROMPTS, timeout_s=0.01)


def test_model_is_used_in_plain_float32(checkpoint, monkeypatch):
    asked = {}

    def run(command, **settings):
        asked["request"] = InferenceRequest.model_validate_json(settings["input"])
        raise inference.subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(inference.subprocess, "run", run)
    trained_in = Compute(framework="torch", device="cuda", dtype="bfloat16", compile=True, num_threads=3)
    with pytest.raises(ValidationFailed):
        measure_inference(checkpoint, SHAPE, trained_in, PROMPTS)
    compute = asked["request"].compute
    assert (compute.dtype, compute.compile) == ("float32", False)
    assert (compute.framework, compute.device, compute.num_threads) == ("torch", "cuda", 1)


@pytest.mark.parametrize(
    ("stderr", "why"), [("Traceback …\n  deep inside\nMemoryError: no more\n", "MemoryError: no more"), ("", "exit -9")]
)
def test_last_word_of_a_process_that_failed_is_handed_on(stderr, why, checkpoint, monkeypatch):
    finished = inference.subprocess.CompletedProcess([], -9, stdout="", stderr=stderr)
    monkeypatch.setattr(inference.subprocess, "run", lambda *_, **__: finished)
    with pytest.raises(ValidationFailed) as raised:
        measure_inference(checkpoint, SHAPE, COMPUTE, PROMPTS)
    assert raised.value.why == why


def test_greeting_of_a_framework_is_not_taken_for_the_answer(checkpoint, monkeypatch):
    request = InferenceRequest(checkpoint=str(checkpoint), shape=SHAPE, compute=COMPUTE, prompts=((1,),))
    cost = answer_request(request)
    stdout = f"Welcome to the framework\n{cost.model_dump_json()}\n"
    finished = inference.subprocess.CompletedProcess([], 0, stdout=stdout, stderr="")
    monkeypatch.setattr(inference.subprocess, "run", lambda *_, **__: finished)
    assert measure_inference(checkpoint, SHAPE, COMPUTE, PROMPTS) == cost


def test_every_answer_has_its_full_length(checkpoint, monkeypatch):
    from trainwright.evaluate import generation

    written = []
    real = generation.iter_generated

    def count(*arguments, **settings):
        written.append(len(tokens := list(real(*arguments, **settings))))
        return iter(tokens)

    monkeypatch.setattr(generation, "iter_generated", count)
    request = InferenceRequest(
        checkpoint=str(checkpoint), shape=SHAPE, compute=COMPUTE, prompts=((1,), (2, 3)), num_new_tokens=5
    )
    cost = answer_request(request)
    assert written == [5, 5, 5]  # one to warm up, and one for each prompt
    assert len(cost.latencies_s) == 2
