"""Compiled bfloat16 on PyTorch: the same bits in every process, and after a state was read and loaded."""

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.protocol import IGNORED, Batch, Rates
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_training
from trainwright.core.records import Compute, ModelShape

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]

SHAPE = ModelShape(
    vocab_size=600, hidden_size=64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, intermediate_size=96
)
NUM_STEPS = 6


def open_trainer(compiled=True, dtype="bfloat16", **settings):
    from trainwright.backends.torch import TorchBackend

    overrides = ["train.steps=6", "train.batch_size=8", "train.max_seq_length=32"]
    overrides += [f"train.{name}={value}" for name, value in settings.items()]
    training = resolve_training(parse_manifest(None, overrides).train, num_windows=100, num_steps=NUM_STEPS)
    compute = Compute(framework="torch", device="cpu", dtype=dtype, compile=compiled, num_threads=2)
    return TorchBackend().open_trainer(SHAPE, build_initial_weights(SHAPE, 7, 0.02), compute, training)


def random_batch(step):
    rows = np.random.default_rng(step).integers(SHAPE.vocab_size, size=(8, 33), dtype=np.int32)
    return Batch(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:]))


def train(trainer, start, stop):
    """Losses of the steps start … stop-1, each on a batch of its own."""
    losses = []
    for step in range(start, stop):
        losses.append(trainer.compute_gradients((random_batch(step),), step).loss)
        trainer.apply_update(Rates(3e-3, 0.02))
    return losses


def digest(trainer):
    weights = trainer.read_state().weights
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()


def digest_in_a_new_process():
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('compiled', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "trainer = module.open_trainer(); module.train(trainer, 0, module.NUM_STEPS); print(module.digest(trainer))"
    )
    finished = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True)
    return finished.stdout.strip()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # what the compiler warns about is not ours to mend
def test_compiled_training_gives_the_same_bits_everywhere():
    whole = open_trainer()
    compiled_losses = train(whole, 0, NUM_STEPS)
    assert digest_in_a_new_process() == digest(whole)

    half = open_trainer()
    train(half, 0, 3)
    resumed = open_trainer()
    resumed.load_state(half.read_state())
    train(resumed, 3, NUM_STEPS)
    assert digest(resumed) == digest(whole)

    plain_losses = train(open_trainer(compiled=False, dtype="float32"), 0, NUM_STEPS)
    assert compiled_losses == pytest.approx(plain_losses, abs=0.05)
    assert compiled_losses != plain_losses


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_samples_that_share_a_row_stay_apart_when_compiled():
    rows = np.random.default_rng(0).integers(SHAPE.vocab_size, size=(8, 33), dtype=np.int32)
    segments = np.repeat([[0] * 10 + [1] * 22], 8, axis=0).astype(np.int32)
    targets = np.where(segments == 1, rows[:, 1:], IGNORED).astype(np.int32)
    changed = np.where(segments == 0, (rows[:, :-1] + 1) % SHAPE.vocab_size, rows[:, :-1]).astype(np.int32)
    trainer = open_trainer()
    one = trainer.compute_gradients([Batch(rows[:, :-1].copy(), targets, segments)], 0)
    other = trainer.compute_gradients([Batch(changed, targets, segments)], 0)
    assert one == other
    plain = open_trainer(compiled=False, dtype="float32")
    alone = Batch(rows[:, 10:32].copy(), rows[:, 11:33].copy())
    assert one.loss == pytest.approx(plain.compute_gradients([alone], 0).loss, abs=0.05)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_compiled_training_does_not_notice_the_average_nor_the_watching():
    plain, averaging = open_trainer(), open_trainer(ema_decay=0.9)
    train(plain, 0, 2)
    batch = random_batch(9)
    for step in range(2):
        averaging.compute_gradients((random_batch(step),), step)
        averaging.score(batch)
        anatomy = averaging.apply_watched_update(Rates(3e-3, 0.02))
    state, trained = averaging.read_state(), plain.read_state().weights
    for name, weight in trained.items():
        np.testing.assert_array_equal(state.optimizer[f"raw.{name}"], weight, err_msg=name)
        assert sum(anatomy[name].octaves) == weight.size
    scorer = open_trainer(compiled=False, dtype="float32", ema_decay=0.9)
    scorer.load_state(state)
    expected = scorer.score(batch).nll_BT.mean()
    assert averaging.score(batch).nll_BT.mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_compiled_training_drops_what_plain_training_drops():
    compiled = train(open_trainer(dtype="float32", dropout=0.3), 0, NUM_STEPS)
    plain = train(open_trainer(dtype="float32", dropout=0.3, compiled=False), 0, NUM_STEPS)
    assert compiled == pytest.approx(plain, abs=1e-4)
    assert compiled == train(open_trainer(dtype="float32", dropout=0.3), 0, NUM_STEPS)
    assert compiled != pytest.approx(train(open_trainer(dtype="float32"), 0, NUM_STEPS), abs=1e-4)
