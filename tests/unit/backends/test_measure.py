"""How fast a candidate trains, in a process that is really a fresh one, on the reference backend."""

import pytest

from trainwright.backends import measure
from trainwright.backends.measure import Speed, SpeedRequest, measure_speed, time_candidate
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_training
from trainwright.core.records import Compute, ModelShape

SHAPE = ModelShape(
    vocab_size=40, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
TRAINING = resolve_training(
    parse_manifest(None, ["train.batch_size=4", "train.accumulation=2", "train.max_seq_length=32"]).train, 10, 10
)
COMPUTE = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
REQUEST = SpeedRequest(shape=SHAPE, training=TRAINING, compute=COMPUTE)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


def test_candidate_is_timed_in_a_fresh_process():
    speed = measure_speed(REQUEST)
    assert speed.problem == ""
    assert speed.compute == COMPUTE
    assert speed.start_s >= 0
    assert speed.step_s > 0
    assert speed.score_s > 0
    assert 10e6 < speed.peak_rss_bytes < 2e9


def test_candidate_that_cannot_run_comes_back_with_its_problem():
    request = REQUEST.model_copy(update={"compute": COMPUTE.model_copy(update={"dtype": "bfloat16"})})
    speed = measure_speed(request)
    assert "cannot run the plan" in speed.problem
    assert (speed.start_s, speed.step_s, speed.score_s) == (None, None, None)
    assert speed.total_s(1) == float("inf")


def test_process_that_dies_without_a_word_comes_back_with_its_exit_code(monkeypatch):
    finished = measure.subprocess.CompletedProcess([], -9, stdout="", stderr="\n")
    monkeypatch.setattr(measure.subprocess, "run", lambda *_, **__: finished)
    assert measure_speed(REQUEST).problem == "exit -9"


def test_process_that_hangs_is_ended_and_comes_back_with_its_problem(monkeypatch):
    def run(command, timeout, **settings):
        raise measure.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(measure.subprocess, "run", run)
    assert measure_speed(REQUEST).problem == "not finished after 300 s"


def test_greeting_of_a_framework_is_not_taken_for_the_answer(monkeypatch):
    answer = Speed(compute=COMPUTE, start_s=1, step_s=2, score_s=3)
    finished = measure.subprocess.CompletedProcess([], 0, stdout=f"hello\n{answer.model_dump_json()}\n", stderr="")
    monkeypatch.setattr(measure.subprocess, "run", lambda *_, **__: finished)
    assert measure_speed(REQUEST) == answer


def test_first_compilation_counts_in_a_run_of_a_given_length():
    speed = Speed(compute=COMPUTE, start_s=4, step_s=1, score_s=3, compilation_s=30)
    assert speed.total_s(10) == 40
    assert speed.model_copy(update={"compilation_s": None}).total_s(10) == 14


def test_first_step_is_told_apart_from_the_median_of_the_rest(monkeypatch):
    laps = iter([5.0, 0.9, 1.0, 3.0])
    seen = []

    def take(trainer, micro_batches, rates):
        seen.append((len(micro_batches), micro_batches[0].tokens_BT.shape, rates))
        return next(laps)

    monkeypatch.setattr(measure, "_time_step", take)
    speed = time_candidate(REQUEST)
    assert (speed.start_s, speed.step_s) == (4.0, 1.0)  # 4.9 s are enough: three steps, more than two seconds
    assert len(seen) == 4
    assert seen[0][:2] == (2, (2, 32))
    assert seen[0][2].learning_rate == TRAINING.optimizer.learning_rate


def test_quick_steps_are_timed_often_and_a_first_one_that_is_quicker_costs_nothing(monkeypatch):
    count = 0

    def take(*_):
        nonlocal count
        count += 1
        return 0.001 if count == 1 else 0.01

    monkeypatch.setattr(measure, "_time_step", take)
    speed = time_candidate(REQUEST)
    assert count == 1 + measure.MAX_STEPS
    assert speed.start_s == 0.0


def test_speed_of_a_run_by_hand():
    speed = Speed(compute=COMPUTE, start_s=2.0, step_s=0.5, score_s=0.1)
    assert speed.total_s(10) == 7.0
    assert Speed(compute=COMPUTE, problem="broken").total_s(10) == float("inf")
