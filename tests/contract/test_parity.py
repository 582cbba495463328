"""One plan, every backend: `examples/parity.yaml` through the real loop, on each, beside the reference.

Equal, bit for bit: first weights, batches, learning rates. Within a tolerance: the losses of all hundred steps, the weights
in the end. Equal again: the text that the likeliest tokens make.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from trainwright.backends.catalogue import CATALOGUE, is_installed, open_backend
from trainwright.backends.choice import carry_over
from trainwright.core.manifest import parse_manifest
from trainwright.core.state import Position
from trainwright.evaluate.generation import Decoding, iter_generated
from trainwright.pipeline.execute import open_batches, open_reader
from trainwright.pipeline.journal import Journal, SilentScreen
from trainwright.pipeline.prepare import prepare
from trainwright.pipeline.start import read_first_weights
from trainwright.store.workspace import open_workspace
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.train.loop import Surroundings, train
from trainwright.train.telling import HeldOut

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "parity.yaml"
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-3, 1e-3
NUM_STEPS, NUM_WRITTEN, PROMPT = 100, 24, "Once upon a time"

PLAIN = ("reference", "torch")
"""What `make test` installs; the others are for `make test-all`."""
COMPILING = ("tinygrad", "tunix")
"""What compiles before the first step, and for minutes where the machine has much else to do."""


def marks_of(name):
    marks = [] if name in PLAIN else [pytest.mark.extra]
    return [*marks, pytest.mark.timeout(1800)] if name in COMPILING else marks


@dataclass
class Told:
    """What a backend was given, and what it made of that."""

    first_weights: dict = field(default_factory=dict)
    batches: list = field(default_factory=list)
    rates: list = field(default_factory=list)
    losses: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    tokens: list = field(default_factory=list)


class Recording:
    """A backend's trainer that writes down what passes through it."""

    def __init__(self, trainer, told):
        self._trainer, self._told = trainer, told

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def compute_gradients(self, micro_batches, dropout_seed):
        self._told.batches.append([(batch.tokens_BT.copy(), batch.targets_BT.copy()) for batch in micro_batches])
        gradients = self._trainer.compute_gradients(micro_batches, dropout_seed)
        self._told.losses.append(gradients.loss)
        return gradients

    def apply_update(self, rates):
        self._told.rates.append(rates)
        self._trainer.apply_update(rates)

    def apply_watched_update(self, rates):
        self._told.rates.append(rates)
        return self._trainer.apply_watched_update(rates)


class SilentEvents:
    num_events = 0

    def emit(self, kind, facts, timing=None):
        assert kind not in ("skip", "rollback"), facts


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    with open_workspace(tmp_path_factory.mktemp("parity") / "workspace") as opened:
        yield opened


@pytest.fixture(scope="module")
def prepared(workspace):
    manifest = parse_manifest(EXAMPLE, ["compute.framework=reference", "compute.threads=1"])
    return prepare(manifest, workspace, Journal(SilentScreen()))


def run_on(framework, prepared, workspace):
    backend = open_backend(framework)
    plan = prepared.plan.model_copy(update={"compute": carry_over(prepared.plan.compute, framework)})
    prepared = replace(prepared, plan=plan)
    told = Told(first_weights=read_first_weights(plan, workspace))
    trainer = backend.open_trainer(plan.model, told.first_weights, plan.compute, plan.training)
    around = Surroundings(
        events=SilentEvents(),
        validate=lambda: HeldOut(val_loss=1.0, perplexity=1.0, bits_per_byte=1.0, accuracy=0.5),
        write_samples=lambda step: [],
        save=lambda state, position: None,
        read_scheduled=lambda step: pytest.fail(f"rolled back to step {step}"),
        should_stop=lambda: False,
    )
    batches = open_batches(prepared, open_reader(prepared.token_set, "train", workspace))
    train(plan, Recording(trainer, told), batches, around, Position.start())
    told.weights = trainer.read_state().weights
    model = backend.open_model(plan.model, told.weights, plan.compute.for_writing())
    prompt = open_tokenizer(prepared.tokenizer, workspace.objects).encode(PROMPT)
    decoding = Decoding(max_tokens=NUM_WRITTEN, temperature=0)
    told.tokens = list(iter_generated(model, prompt, decoding, end=None))
    return told


@pytest.fixture(scope="module")
def expected(prepared, workspace):
    return run_on("reference", prepared, workspace)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=marks_of(name)) for name in sorted(CATALOGUE) if name != "reference"],
)
def found(request, prepared, workspace):
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed: {CATALOGUE[request.param].install}")
    return run_on(request.param, prepared, workspace)


def test_first_weights_are_the_same_arrays(found, expected):
    assert found.first_weights.keys() == expected.first_weights.keys()
    for name, array in found.first_weights.items():
        np.testing.assert_array_equal(array, expected.first_weights[name], err_msg=name)


def test_batches_are_the_same(found, expected):
    assert len(found.batches) == len(expected.batches) == NUM_STEPS
    for mine, theirs in zip(found.batches, expected.batches, strict=True):
        assert len(mine) == len(theirs) == 2
        for arrays, others in zip(mine, theirs, strict=True):
            for array, other in zip(arrays, others, strict=True):
                np.testing.assert_array_equal(array, other)


def test_learning_rates_are_the_same(found, expected):
    assert found.rates == expected.rates
    assert len({rates.learning_rate for rates in found.rates}) > 10  # a schedule, not a constant


def test_losses_of_a_hundred_steps_agree(found, expected):
    assert len(found.losses) == NUM_STEPS
    assert expected.losses[-1] < expected.losses[0] - 1.0  # there was something to learn, and it was learnt
    np.testing.assert_allclose(found.losses, expected.losses, rtol=0, atol=LOSS_TOLERANCE)


def test_weights_agree_in_the_end(found, expected):
    moved = max(np.abs(array - expected.first_weights[name]).max() for name, array in expected.weights.items())
    assert moved > 50 * WEIGHT_TOLERANCE
    for name, array in found.weights.items():
        np.testing.assert_allclose(array, expected.weights[name], rtol=0, atol=WEIGHT_TOLERANCE, err_msg=name)


def test_likeliest_tokens_are_the_same(found, expected):
    assert len(expected.tokens) == NUM_WRITTEN
    assert len(set(expected.tokens)) > 3
    assert found.tokens == expected.tokens
