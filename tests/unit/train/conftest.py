"""A whole run in memory, on either backend, in which any step can be made to go wrong."""

from dataclasses import replace

import numpy as np
import pytest

from trainwright.backends.catalogue import CATALOGUE, is_installed, open_backend
from trainwright.backends.initial import build_initial_state, build_initial_weights
from trainwright.backends.reference import ReferenceTrainer
from trainwright.backends.reference_math import l2_norm
from trainwright.core.records import (
    Budgets,
    Compute,
    EarlyStopping,
    ModelShape,
    Optimizer,
    Plan,
    Schedule,
    Stability,
    TrainingPlan,
)
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position
from trainwright.train.batches import BatchSource
from trainwright.train.loop import Surroundings, train
from trainwright.train.telling import HeldOut

SHAPE = ModelShape(
    vocab_size=17, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
LADDER = Stability(outlier_sigmas=30, window=8, max_skips=3, rate_factor=0.5, max_rollbacks=2)


def build_small_plan(framework="reference", optimizer="muon", **changes):
    """24 steps, an epoch every 5, a validation every 6, a checkpoint every 4."""
    settings = {
        "num_steps": 24,
        "steps_per_epoch": 5,
        "batch_size": 4,
        "accumulation": 2,
        "max_seq_length": 8,
        "optimizer": Optimizer(
            name=optimizer,
            learning_rate=3e-3,
            beta1=0.9,
            beta2=0.95,
            epsilon=1e-8,
            weight_decay=0.01,
            clip_norm=1.0,
            matrix_learning_rate=0.02 if optimizer == "muon" else 0.0,
        ),
        "schedule": Schedule(name="constant", num_warmup_steps=2, num_decay_steps=0, floor=0.0),
        "label_smoothing": 0.0,
        "dropout": 0.1,
        "init_scale": 0.02,
        "validate_every": 6,
        "checkpoint_every": 4,
        "keep_last": 3,
        "early_stopping": EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
        "sample_prompts": ("a",),
        "sample_tokens": 2,
        "stability": LADDER,
        "watch_every": 7,
    }
    return Plan(
        token_set="a" * 64,
        seed=1337,
        model=SHAPE,
        training=TrainingPlan(**(settings | changes)),
        compute=Compute(framework=framework, device="cpu", dtype="float32", compile=False, num_threads=1),
        budgets=Budgets(latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None),
    )


class Tokens:
    """A split that a small model can learn a little of."""

    num_tokens = 20 * 8 + 3

    def read(self, start, stop):
        positions = np.arange(start, stop, dtype=np.int64)
        return (3 * positions % SHAPE.vocab_size).astype(np.int32)


class ListEvents:
    """An event stream in memory."""

    def __init__(self, events, on_trace):
        self.events = list(events)
        self._on_trace = on_trace

    @property
    def num_events(self):
        return len(self.events)

    def emit(self, kind, facts, timing=None):
        self._on_trace()
        self.events.append((kind, dict(facts), dict(timing or {})))


class FaultyTrainer:
    """A real trainer whose steps go wrong where they are told to.

    `faults` is {step (from 1): fault}; a fault takes the trainer and its gradients, may spoil the trainer's own, and
    returns what is to be reported. `computed` lists the steps whose gradients were computed, `before` the state at the
    beginning of each.
    """

    def __init__(self, trainer, plan, faults):
        self._trainer, self._faults = trainer, faults
        self._steps = {derive_seed(plan.seed, "dropout", step): step + 1 for step in range(plan.training.num_steps)}
        self.computed, self.before = [], {}

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def compute_gradients(self, micro_batches, dropout_seed):
        step = self._steps.get(dropout_seed, 0)
        self.computed.append(step)
        self.before[step] = self._trainer.read_state()
        gradients = self._trainer.compute_gradients(micro_batches, dropout_seed)
        fault = self._faults.get(step)
        return fault(self._trainer, gradients) if fault else gradients


def nan_loss(trainer, gradients):
    return replace(gradients, nll_sum=float("nan"))


def exploding_loss(trainer, gradients):
    return replace(gradients, nll_sum=1e6 * gradients.nll_sum)


def nan_gradient(trainer, gradients):
    return replace(gradients, norm=scale_gradients(trainer, float("nan")))


def exploding_gradient(trainer, gradients):
    return replace(gradients, norm=scale_gradients(trainer, 1e6))


def scale_gradients(trainer, factor):
    """Spoil the gradients that an update would really use; returns their new norm."""
    if isinstance(trainer, ReferenceTrainer):
        for gradient in trainer.gradients.values():
            gradient *= np.float32(factor)
        trainer._gradient_norm = l2_norm(list(trainer.gradients.values()))
        return trainer._gradient_norm
    if trainer.__class__.__name__ == "TinygradTrainer":
        trainer._totals = {
            name: trainer.to_device(np.float32(factor) * tensor.numpy()) for name, tensor in trainer._totals.items()
        }
        trainer._norm = l2_norm([tensor.numpy() for tensor in trainer._totals.values()])
        return trainer._norm
    for tensor in trainer._trained.values():
        tensor.grad.mul_(factor)
    return trainer._optimizer.measure_norm()


FAULTS = {
    "nan loss": nan_loss,
    "nan gradient": nan_gradient,
    "exploding loss": exploding_loss,
    "exploding gradient": exploding_gradient,
}


class World:
    """A run and its surroundings. `stop_after`: someone asks for a stop when that step was told."""

    def __init__(self, plan, faults=None, held_out=None):
        self.plan, self.faults, self._held_out = plan, faults or {}, held_out
        self.on_trace = lambda: None  # called before every event, and around every save and every rollback
        self.stop_after = None
        self.checkpoints = {}
        self.events = ListEvents((), self._trace)
        self.trainer = self._open_trainer()

    def go(self, position=None):
        training = self.plan.training
        around = Surroundings(
            events=self.events,
            validate=self._validate,
            write_samples=lambda step: [(prompt, f"text at {step}") for prompt in training.sample_prompts],
            save=self._save,
            read_scheduled=self._read_scheduled,
            should_stop=lambda: self.stop_after is not None and self._last_step() == self.stop_after,
        )
        return train(self.plan, self.trainer, self.open_batches(), around, position or Position.start())

    def resume(self):
        """What a fresh process does: newest checkpoint, a new trainer, the events the checkpoint knows of."""
        self.trainer = self._open_trainer()
        position = Position.start()
        if self.checkpoints:
            state, position = self.checkpoints[max(self.checkpoints)]
            self.trainer.load_state(state)
        self.events = ListEvents(self.events.events[: position.num_events], self._trace)
        return self.go(position)

    def open_batches(self):
        training = self.plan.training
        return BatchSource(
            Tokens(),
            seed=self.plan.seed,
            batch_size=training.batch_size,
            accumulation=training.accumulation,
            seq_length=training.max_seq_length,
        )

    def told(self, *kinds):
        """What was told, apart from the clock."""
        return [(kind, facts) for kind, facts, _ in self.events.events if kind in kinds or not kinds]

    def facts(self, kind):
        return [facts for _, facts in self.told(kind)]

    def _open_trainer(self):
        training = self.plan.training
        weights = build_initial_weights(SHAPE, self.plan.seed, training.init_scale)
        backend = open_backend(self.plan.compute.framework)
        trainer = backend.open_trainer(SHAPE, weights, self.plan.compute, training)
        return FaultyTrainer(trainer, self.plan, self.faults)

    def _trace(self):
        self.on_trace()

    def _last_step(self):
        steps = [facts["step"] for _, facts in self.told("step", "skip")]
        return steps[-1] if steps else 0

    def _save(self, state, position):
        self.on_trace()
        written = self.checkpoints.get(position.step)
        if written is not None:  # as on disk: a step is written again with the same content, or not at all
            assert written[1] == position
            assert_same_state(written[0], state)
        self.checkpoints[position.step] = (state, position)
        self.on_trace()
        return "a" * 64

    def _read_scheduled(self, step):
        self.on_trace()
        self.checkpoints = {kept: saved for kept, saved in self.checkpoints.items() if kept <= step}
        self.on_trace()
        start = (build_initial_state(SHAPE, self.plan.training, self.plan.seed), Position.start())
        return self.checkpoints[step] if step else start

    def _validate(self):
        if self._held_out is not None:
            return self._held_out()
        batch = BatchSource(Tokens(), seed=1, batch_size=4, accumulation=1, seq_length=8).micro_batches_at(0)[0]
        scores = self.trainer.score(batch)
        loss = float(scores.nll_BT.mean(dtype=np.float64))
        return HeldOut(loss, float(np.exp(loss)), loss / 2, float(scores.correct_BT.mean()))


PLAIN = ("reference", "torch")
"""What `make test` installs; the others are for `make test-all`."""


def assert_same_state(state, other):
    assert state.num_updates == other.num_updates
    for mine, theirs in ((state.weights, other.weights), (state.optimizer, other.optimizer)):
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


COMPILING = ("tinygrad", "tunix")
"""What compiles for a minute before the first step, and for several where the machine has much else to do."""


def marks_of(name):
    marks = [] if name in PLAIN else [pytest.mark.extra]
    return [*marks, pytest.mark.timeout(1800)] if name in COMPILING else marks


@pytest.fixture(params=[pytest.param(name, marks=marks_of(name)) for name in sorted(CATALOGUE)])
def framework(request):
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed: {CATALOGUE[request.param].install}")
    if "muon" not in open_backend(request.param).capabilities.optimizers:
        pytest.skip(f"{request.param} does not offer muon, which these runs train with")
    return request.param


@pytest.fixture
def build_world(framework):
    """World(plan with these changes, faults, held_out), on each backend in turn."""

    def build(faults=None, held_out=None, **changes):
        return World(build_small_plan(framework, **changes), faults, held_out)

    return build


@pytest.fixture(scope="session")
def faults():
    return FAULTS


@pytest.fixture(scope="session")
def require_same_state():
    return assert_same_state
