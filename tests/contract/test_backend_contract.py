"""What every backend must do, whatever it is made of. To try a new one, enter it in `backends/catalogue.py`.

Everything runs on the CPU in float32, not compiled. Where numbers are compared with the reference's, the tolerance
stands beside the comparison (the reference backend itself is compared with its own formulas in float64: rounding alone
must stay within it). Within one backend, what must be equal must be equal bit for bit.
"""

from dataclasses import replace

import numpy as np
import pytest

from trainwright.backends.batching import open_batch_decoder
from trainwright.backends.catalogue import CATALOGUE, is_installed, open_backend
from trainwright.backends.initial import (
    RAW,
    build_initial_state,
    build_initial_weights,
    optimizer_state_shapes,
    weight_shapes,
)
from trainwright.backends.protocol import IGNORED, LOWEST_OCTAVE, NUM_OCTAVES, Batch, Batching, Rates
from trainwright.backends.reference import ReferenceBackend, ReferenceTrainer
from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import Compute, EarlyStopping, ModelShape, Optimizer, Schedule, TrainingPlan

SHAPE = ModelShape(
    vocab_size=97, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, intermediate_size=64
)
RATES = Rates(learning_rate=3e-3, matrix_learning_rate=0.02)
PLAIN = ("reference", "torch")
"""What `make test` installs; the others are for `make test-all`."""
Q0 = "model.layers.0.self_attn.q_proj.weight"


COMPILING = ("tinygrad", "tunix")
"""What compiles for a minute before the first step, and for several where the machine has much else to do."""


def marks_of(name):
    marks = [] if name in PLAIN else [pytest.mark.extra]
    return [*marks, pytest.mark.timeout(1800)] if name in COMPILING else marks


ALL_OPTIMIZERS = ("adamw", "muon")
OFFERED = {"transformers": ("adamw",)}
"""What backends offer, where that is not all. Their `capabilities` say it too, where they are installed."""


def pytest_generate_tests(metafunc):
    """Every backend; where a test is about an optimizer, each with every one that it offers."""
    if "optimizer" in metafunc.fixturenames:
        pairs = [(name, each) for name in sorted(CATALOGUE) for each in OFFERED.get(name, ALL_OPTIMIZERS)]
        cases = [pytest.param(*pair, marks=marks_of(pair[0])) for pair in pairs]
        metafunc.parametrize(("backend", "optimizer"), cases, indirect=True, scope="module")
    elif "backend" in metafunc.fixturenames:
        cases = [pytest.param(name, marks=marks_of(name)) for name in sorted(CATALOGUE)]
        metafunc.parametrize("backend", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(request):
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed: {CATALOGUE[request.param].install}")
    return open_backend(request.param)


@pytest.fixture(scope="module")
def optimizer(request):
    return request.param


def compute_for(backend):
    return Compute(framework=backend.name, device="cpu", dtype="float32", compile=False, num_threads=1)


def plan(name="adamw", *, dropout=0.0, label_smoothing=0.0, ema_decay=0.0, **optimizer):
    settings = {
        "learning_rate": RATES.learning_rate,
        "beta1": 0.9,
        "beta2": 0.95,
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "matrix_learning_rate": RATES.matrix_learning_rate,
        "matrix_weight_decay": 0.1,
    }
    return TrainingPlan(
        num_steps=50,
        steps_per_epoch=50,
        batch_size=8,
        accumulation=1,
        max_seq_length=32,
        optimizer=Optimizer(name=name, **(settings | optimizer)),
        schedule=Schedule(name="constant", num_warmup_steps=0, num_decay_steps=0, floor=0.0),
        label_smoothing=label_smoothing,
        dropout=dropout,
        init_scale=0.02,
        validate_every=50,
        checkpoint_every=50,
        keep_last=1,
        early_stopping=EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
        sample_prompts=(),
        sample_tokens=1,
        ema_decay=ema_decay,
    )


def moved_weights(seed=5):
    """Initial weights moved off their zeros and ones, so that every gradient is there and no two logits are equal."""
    random = np.random.default_rng(seed)
    weights = build_initial_weights(SHAPE, seed, init_scale=0.3)
    return {name: (a + 0.1 * random.standard_normal(a.shape)).astype(np.float32) for name, a in weights.items()}


def random_batch(rows=4, length=12, seed=0, share_ignored=0.2):
    random = np.random.default_rng(seed)
    ids = random.integers(0, SHAPE.vocab_size, (rows, length + 1)).astype(np.int32)
    targets = np.where(random.random((rows, length)) < share_ignored, IGNORED, ids[:, 1:]).astype(np.int32)
    targets[0, 0] = ids[0, 1]  # at least one counts
    return Batch(ids[:, :-1].copy(), targets)


def learnable_batches(number, rows=8, length=32):
    """Sequences that go up by 3 modulo the vocabulary, with one token in ten at random: half rule, half noise."""
    random = np.random.default_rng(3)
    for _ in range(number):
        ids = (random.integers(0, SHAPE.vocab_size, (rows, 1)) + 3 * np.arange(length + 1)) % SHAPE.vocab_size
        is_noise = random.random(ids.shape) < 0.1
        ids = np.where(is_noise, random.integers(0, SHAPE.vocab_size, ids.shape), ids).astype(np.int32)
        yield Batch(ids[:, :-1].copy(), ids[:, 1:].copy())


def open_trainer(backend, training=None, weights=None):
    weights = moved_weights() if weights is None else weights
    return backend.open_trainer(SHAPE, weights, compute_for(backend), training or plan())


def open_reference(backend, training=None, weights=None):
    """What `backend` is compared with."""
    weights = moved_weights() if weights is None else weights
    dtype = np.float64 if isinstance(backend, ReferenceBackend) else np.float32
    return ReferenceTrainer(SHAPE, weights, training or plan(), dtype)


def take_steps(trainer, first, last):
    found = []
    for step in range(first, last):
        found.append(trainer.compute_gradients([random_batch(seed=step)], dropout_seed=step))
        trainer.apply_update(RATES)
    return found


def assert_same_arrays(mine, theirs):
    assert set(mine) == set(theirs)
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def assert_same_state(state, other):
    assert state.num_updates == other.num_updates
    assert_same_arrays(state.weights, other.weights)
    assert_same_arrays(state.optimizer, other.optimizer)


# ── what it says of itself ────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_entered_under_its_own_name_and_can_do_the_least(backend):
    assert CATALOGUE[backend.name].class_name == type(backend).__name__
    assert "cpu" in backend.capabilities.devices
    assert "float32" in backend.capabilities.dtypes
    assert "adamw" in backend.capabilities.optimizers


def test_it_trains_with_the_optimizers_that_it_offers_and_refuses_the_others(backend):
    offered = OFFERED.get(backend.name, ALL_OPTIMIZERS)
    assert backend.capabilities.optimizers == offered
    for name in set(ALL_OPTIMIZERS) - set(offered):
        with pytest.raises(UnsupportedPlan, match=f"{backend.name} backend cannot train with {name}"):
            open_trainer(backend, plan(name))


def test_probe_of_the_cpu_works(backend):
    probe = backend.probe("cpu")
    assert probe.works, probe.problem
    assert probe.version
    assert probe.device_name
    assert not probe.problem


def test_probe_of_a_device_that_is_not_there_says_so_and_what_to_do(backend):
    probe = backend.probe("abacus")
    assert not probe.works
    assert probe.problem
    assert probe.remedy


# ── agreement with the reference ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient_norm_agree_with_the_reference(backend, label_smoothing):
    training = plan(label_smoothing=label_smoothing)
    micro_batches = [random_batch(rows=3, seed=1), random_batch(rows=2, length=20, seed=2)]
    found = open_trainer(backend, training).compute_gradients(micro_batches, 0)
    expected = open_reference(backend, training).compute_gradients(micro_batches, 0)
    assert found.num_targets == expected.num_targets == sum(batch.num_targets for batch in micro_batches)
    assert found.num_correct == expected.num_correct
    assert found.nll_sum == pytest.approx(expected.nll_sum, rel=1e-4)
    assert found.norm == pytest.approx(expected.norm, rel=1e-4)
    assert found.is_finite


def test_losses_of_fifty_steps_agree_with_the_reference(backend, optimizer):
    weights = build_initial_weights(SHAPE, 1337, init_scale=0.02)
    trainers = [open_each(backend, plan(optimizer), weights) for open_each in (open_trainer, open_reference)]
    losses = []
    for step, batch in enumerate(learnable_batches(50)):
        losses.append([trainer.compute_gradients([batch], step).loss for trainer in trainers])
        for trainer in trainers:
            trainer.apply_update(RATES)
    found, expected = np.array(losses).T
    assert expected[-1] < 0.6 * expected[0]  # there was something to learn, and it was learned
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_every_weight_agrees_with_the_reference_after_an_update(backend, optimizer):
    # A large epsilon makes AdamW's step smooth in the gradient; with a small one, a gradient that is zero but for
    # rounding becomes a full step up in one framework and a full step down in another.
    training = plan(optimizer, epsilon=1e-2, label_smoothing=0.1)
    states = []
    for open_each in (open_trainer, open_reference):
        trainer = open_each(backend, training)
        take_steps(trainer, 0, 2)
        states.append(trainer.read_state().weights)
    found, expected = states
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-5, err_msg=name)


def test_scores_agree_with_the_reference(backend):
    batch = random_batch()
    found = open_trainer(backend).score(batch)
    expected = open_reference(backend).score(batch)
    np.testing.assert_allclose(found.nll_BT, expected.nll_BT, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.correct_BT, expected.correct_BT)


# ── gradients ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_one_by_eight_is_two_by_four_is_eight_by_one(backend):
    whole = random_batch(rows=8, share_ignored=0.5)
    ends = []
    for rows in (8, 4, 1):
        cut = [Batch(whole.tokens_BT[i : i + rows], whole.targets_BT[i : i + rows]) for i in range(0, 8, rows)]
        trainer = open_trainer(backend, plan(epsilon=1e-2, clip_norm=0.0))
        gradients = trainer.compute_gradients(cut, 0)
        trainer.apply_update(RATES)
        ends.append((gradients, trainer.read_state()))
    (first, first_state), *others = ends
    for gradients, state in others:
        assert (gradients.num_targets, gradients.num_correct) == (first.num_targets, first.num_correct)
        assert gradients.nll_sum == pytest.approx(first.nll_sum, rel=1e-5)
        assert gradients.norm == pytest.approx(first.norm, rel=1e-5)
        for name, array in state.optimizer.items():
            if name.startswith("adamw.first."):  # a tenth of the gradient itself
                np.testing.assert_allclose(array, first_state.optimizer[name], rtol=1e-3, atol=1e-7, err_msg=name)


def test_ignored_positions_change_nothing(backend):
    batch = random_batch(rows=2, length=6, share_ignored=0.0)
    tokens = np.pad(batch.tokens_BT, ((0, 1), (0, 3)), constant_values=7)
    targets = np.pad(batch.targets_BT, ((0, 1), (0, 3)), constant_values=IGNORED)
    trainer = open_trainer(backend)
    padded = trainer.compute_gradients([Batch(tokens, targets)], 0)
    plain = trainer.compute_gradients([batch], 0)
    assert padded.num_targets == plain.num_targets == 12
    assert padded.num_correct == plain.num_correct
    assert padded.nll_sum == pytest.approx(plain.nll_sum, rel=1e-5)
    assert padded.norm == pytest.approx(plain.norm, rel=1e-5)


def test_micro_batch_without_a_target_adds_nothing(backend):
    batch, trainer = random_batch(), open_trainer(backend)
    empty = replace(batch, targets_BT=np.full_like(batch.targets_BT, IGNORED))
    both = trainer.compute_gradients([empty, batch], 0)
    alone = trainer.compute_gradients([batch], 0)
    assert both.is_finite
    assert both.num_targets == alone.num_targets
    assert both.nll_sum == pytest.approx(alone.nll_sum, rel=1e-5)
    assert both.norm == pytest.approx(alone.norm, rel=1e-5)


def test_global_batch_without_a_target_is_refused(backend):
    batch = random_batch()
    trainer = open_trainer(backend)
    with pytest.raises(ValueError, match="no target"):
        trainer.compute_gradients([replace(batch, targets_BT=np.full_like(batch.targets_BT, IGNORED))], 0)
    with pytest.raises(ValueError, match="no target"):
        trainer.compute_gradients([], 0)


def test_gradients_replace_those_of_the_call_before(backend):
    once, twice = open_trainer(backend), open_trainer(backend)
    twice.compute_gradients([random_batch(seed=8)], 8)
    assert once.compute_gradients([random_batch()], 0) == twice.compute_gradients([random_batch()], 0)
    for trainer in (once, twice):
        trainer.apply_update(RATES)
    assert_same_state(once.read_state(), twice.read_state())


def test_computing_gradients_changes_no_state(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer, dropout=0.1))
    take_steps(trainer, 0, 2)
    before = trainer.read_state()
    trainer.compute_gradients([random_batch(), random_batch(seed=1)], 0)
    assert_same_state(trainer.read_state(), before)


def test_non_finite_loss_is_reported_and_nothing_changed(backend):
    weights = moved_weights()
    weights[Q0][2, 3] = np.nan
    trainer = open_trainer(backend, weights=weights)
    assert not trainer.compute_gradients([random_batch()], 0).is_finite
    assert_same_arrays(trainer.read_state().weights, weights)
    trainer.load_state(open_trainer(backend).read_state())
    assert trainer.compute_gradients([random_batch()], 0).is_finite


def test_label_smoothing_changes_the_gradient_and_not_the_reported_loss(backend):
    plain = open_trainer(backend, plan()).compute_gradients([random_batch()], 0)
    smoothed = open_trainer(backend, plan(label_smoothing=0.2)).compute_gradients([random_batch()], 0)
    assert smoothed.nll_sum == pytest.approx(plain.nll_sum, rel=1e-6)
    assert abs(smoothed.norm / plain.norm - 1) > 1e-3


# ── samples that share a row ──────────────────────────────────────────────────────────────────────────────────────────
def pack_rows(samples, length):
    """One row of `length` positions that holds `samples` ([1, n] batches) one after another, then padding."""
    tokens, targets = np.full((1, length), 7, np.int32), np.full((1, length), IGNORED, np.int32)
    segments, start = np.full((1, length), len(samples), np.int32), 0
    for number, sample in enumerate(samples):
        stop = start + sample.tokens_BT.shape[1]
        tokens[0, start:stop], targets[0, start:stop], segments[0, start:stop] = (
            sample.tokens_BT[0],
            sample.targets_BT[0],
            number,
        )
        start = stop
    return Batch(tokens, targets, segments)


def two_samples():
    return [random_batch(rows=1, length=length, seed=length, share_ignored=0.3) for length in (9, 12)]


def first_moments(trainer):
    """A tenth of the gradient, by weight: what AdamW's first update remembers of it."""
    trainer.apply_update(RATES)
    state = trainer.read_state().optimizer
    return {name: array for name, array in state.items() if name.startswith("adamw.first.")}


def test_samples_in_one_row_give_the_loss_and_the_gradients_of_rows_of_their_own(backend):
    trainers = [open_trainer(backend, plan(clip_norm=0.0)) for _ in range(2)]
    packed = trainers[0].compute_gradients([pack_rows(two_samples(), 24)], 0)
    apart = trainers[1].compute_gradients(two_samples(), 0)
    assert (packed.num_targets, packed.num_correct) == (apart.num_targets, apart.num_correct)
    assert packed.nll_sum == pytest.approx(apart.nll_sum, rel=1e-5)
    assert packed.norm == pytest.approx(apart.norm, rel=1e-5)
    found, expected = map(first_moments, trainers)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_gradients_of_packed_samples_agree_with_the_reference(backend):
    batches = [pack_rows(two_samples(), 24)]
    found = open_trainer(backend).compute_gradients(batches, 0)
    expected = open_reference(backend).compute_gradients(batches, 0)
    assert found.nll_sum == pytest.approx(expected.nll_sum, rel=1e-4)
    assert found.norm == pytest.approx(expected.norm, rel=1e-4)


def test_one_sample_does_not_depend_on_another_in_its_row_by_one_bit(backend):
    first, second = two_samples()
    other = replace(second, tokens_BT=(second.tokens_BT + 1) % SHAPE.vocab_size)
    losses, gradients = [], []
    for neighbour in (second, other):
        silent = replace(neighbour, targets_BT=np.full_like(neighbour.targets_BT, IGNORED))
        trainer = open_trainer(backend)
        losses.append(trainer.score(pack_rows([neighbour, first], 24)).nll_BT[0, 12:21])
        trainer.compute_gradients([pack_rows([silent, first], 24)], 0)
        gradients.append(first_moments(trainer))
    assert losses[0].any()
    np.testing.assert_array_equal(*losses)
    assert_same_arrays(*gradients)


def test_samples_in_one_row_score_as_in_rows_of_their_own(backend):
    first, second = two_samples()
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    packed = model.score(pack_rows([first, second], 24))
    alone = [model.score(sample) for sample in (first, second)]
    expected = np.concatenate([scores.nll_BT[0] for scores in alone])
    np.testing.assert_allclose(packed.nll_BT[0, :21], expected, rtol=1e-4, atol=1e-5)
    assert not packed.nll_BT[0, 21:].any()


def test_rows_that_are_one_segment_each_are_plain_rows(backend):
    batch = random_batch()
    whole = replace(batch, segments_BT=np.zeros_like(batch.tokens_BT))
    found, expected = (open_trainer(backend).compute_gradients([each], 0) for each in (whole, batch))
    assert found.nll_sum == pytest.approx(expected.nll_sum, rel=1e-6)
    assert found.norm == pytest.approx(expected.norm, rel=1e-6)


def test_cutting_a_batch_of_packed_rows_changes_nothing(backend):
    row = pack_rows(two_samples(), 24)
    names = ("tokens_BT", "targets_BT", "segments_BT")
    batch = Batch(*(np.repeat(getattr(row, name), 4, axis=0) for name in names))
    whole = open_trainer(backend).compute_gradients([batch], 0)
    cut = open_trainer(backend).compute_gradients([batch.rows(0, 1), batch.rows(1, 4)], 0)
    assert cut.nll_sum == pytest.approx(whole.nll_sum, rel=1e-5)
    assert cut.norm == pytest.approx(whole.norm, rel=1e-5)


# ── dropout ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_dropout_is_a_function_of_its_seed(backend):
    trainer = open_trainer(backend, plan(dropout=0.3))
    batches = [random_batch(), random_batch(seed=1)]
    first = trainer.compute_gradients(batches, 1)
    other = trainer.compute_gradients(batches, 2)
    assert trainer.compute_gradients(batches, 1) == first
    assert open_trainer(backend, plan(dropout=0.3)).compute_gradients(batches, 1) == first
    assert other.nll_sum != first.nll_sum


def test_micro_batches_of_one_update_drop_different_elements(backend):
    trainer, batch = open_trainer(backend, plan(dropout=0.3)), random_batch()
    once = trainer.compute_gradients([batch], 1).nll_sum
    twice = trainer.compute_gradients([batch, batch], 1).nll_sum
    assert abs(twice - 2 * once) > 1e-4 * once


def test_without_dropout_the_seed_means_nothing(backend):
    trainer = open_trainer(backend)
    assert trainer.compute_gradients([random_batch()], 1) == trainer.compute_gradients([random_batch()], 2)


def test_dropout_is_off_in_scores_and_in_writing(backend):
    plain, dropping = open_trainer(backend), open_trainer(backend, plan(dropout=0.5))
    dropping.compute_gradients([random_batch()], 1)
    np.testing.assert_array_equal(plain.score(random_batch()).nll_BT, dropping.score(random_batch()).nll_BT)
    np.testing.assert_array_equal(plain.open_decoder().feed([3, 1]), dropping.open_decoder().feed([3, 1]))


# ── updates ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("clip_norm", [0.0, 0.05, 1e6])
def test_gradients_are_clipped_to_the_norm_asked_for(backend, clip_norm):
    training = plan(clip_norm=clip_norm)
    trainer = open_trainer(backend, training)
    norm = trainer.compute_gradients([random_batch()], 0).norm
    assert norm > 0.1
    trainer.apply_update(RATES)
    first = [array for name, array in trainer.read_state().optimizer.items() if name.startswith("adamw.first.")]
    used = np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in first)) / (1 - training.optimizer.beta1)
    assert used == pytest.approx(clip_norm if clip_norm == 0.05 else norm, rel=1e-4)


def test_weight_decay_spares_the_norms(backend, optimizer):
    states = []
    for decay in (0.0, 0.5):
        trainer = open_trainer(backend, plan(optimizer, weight_decay=decay, matrix_weight_decay=decay))
        take_steps(trainer, 0, 1)
        states.append(trainer.read_state().weights)
    without, with_decay = states
    for name, array in without.items():
        assert np.array_equal(array, with_decay[name]) == ("norm" in name), name


def test_rate_of_zero_changes_no_weight(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer))
    trainer.compute_gradients([random_batch()], 0)
    trainer.apply_update(Rates(0.0, 0.0))
    assert_same_arrays(trainer.read_state().weights, moved_weights())
    assert trainer.read_state().num_updates == 1


def test_each_rate_moves_its_own_weights(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer))
    trainer.compute_gradients([random_batch()], 0)
    trainer.apply_update(Rates(learning_rate=0.0, matrix_learning_rate=0.02))
    weights = moved_weights()
    moved = {name for name, a in trainer.read_state().weights.items() if not np.array_equal(a, weights[name])}
    assert moved == ({name for name in weights if name.endswith("_proj.weight")} if optimizer == "muon" else set())


def test_training_reduces_the_loss(backend, optimizer):
    batch = random_batch(rows=2, share_ignored=0.0)
    trainer = open_trainer(backend, plan(optimizer), build_initial_weights(SHAPE, 3, 0.02))
    losses = []
    for step in range(60):
        losses.append(trainer.compute_gradients([batch], step).loss)
        trainer.apply_update(Rates(0.01, 0.02))
    assert losses[0] == pytest.approx(np.log(SHAPE.vocab_size), abs=0.1)
    assert losses[1] < losses[0]
    assert losses[-1] < 0.5
    newest = trainer.compute_gradients([batch], 60).loss
    assert trainer.score(batch).nll_BT.mean() == pytest.approx(newest, rel=1e-4)


def test_two_trainers_from_one_start_stay_equal_bit_for_bit(backend, optimizer):
    training = plan(optimizer, dropout=0.1, label_smoothing=0.1)
    one, other = open_trainer(backend, training), open_trainer(backend, training)
    assert take_steps(one, 0, 4) == take_steps(other, 0, 4)
    assert_same_state(one.read_state(), other.read_state())


def test_scoring_between_gradients_and_update_changes_nothing(backend, optimizer):
    plain, scoring = open_trainer(backend, plan(optimizer)), open_trainer(backend, plan(optimizer))
    for trainer in (plain, scoring):
        trainer.compute_gradients([random_batch()], 0)
    scoring.score(random_batch(seed=5))
    scoring.open_decoder().feed([1, 2, 3])
    scoring.read_state()
    for trainer in (plain, scoring):
        trainer.apply_update(RATES)
    assert_same_state(plain.read_state(), scoring.read_state())


# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_state_has_the_standard_names_shapes_and_float32(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer))
    take_steps(trainer, 0, 3)
    state = trainer.read_state()
    assert {name: array.shape for name, array in state.weights.items()} == weight_shapes(SHAPE)
    assert {name: a.shape for name, a in state.optimizer.items()} == optimizer_state_shapes(SHAPE, optimizer)
    assert {a.dtype for a in (*state.weights.values(), *state.optimizer.values())} == {np.dtype(np.float32)}
    assert state.num_updates == 3
    assert all(array.any() for array in state.optimizer.values())


def test_new_trainer_has_exactly_the_weights_it_was_given(backend, optimizer):
    state = open_trainer(backend, plan(optimizer)).read_state()
    assert_same_arrays(state.weights, moved_weights())
    assert {name: array.shape for name, array in state.optimizer.items()} == optimizer_state_shapes(SHAPE, optimizer)
    assert not any(array.any() for array in state.optimizer.values())
    assert state.num_updates == 0


def test_resumed_trainer_goes_on_bit_for_bit(backend, optimizer):
    training = plan(optimizer, dropout=0.1, label_smoothing=0.1)
    trainer = open_trainer(backend, training)
    take_steps(trainer, 0, 3)
    state = trainer.read_state()
    # A checkpoint gives arrays back in another order.
    state = replace(state, weights=dict(sorted(state.weights.items())), optimizer=dict(sorted(state.optimizer.items())))
    resumed = open_trainer(backend, training, dict(sorted(moved_weights(seed=99).items())))
    resumed.load_state(state)
    assert_same_state(resumed.read_state(), state)
    assert take_steps(resumed, 3, 6) == take_steps(trainer, 3, 6)
    assert_same_state(resumed.read_state(), trainer.read_state())


def test_loading_an_earlier_state_into_a_used_trainer_takes_it_back(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer))
    take_steps(trainer, 0, 2)
    state = trainer.read_state()
    there = take_steps(trainer, 2, 5)
    trainer.load_state(state)
    assert take_steps(trainer, 2, 5) == there


def test_state_is_copied_both_ways(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer))
    take_steps(trainer, 0, 1)
    kept, read = trainer.read_state(), trainer.read_state()
    for array in (*read.weights.values(), *read.optimizer.values()):
        array += 1.0
    assert_same_state(trainer.read_state(), kept)
    trainer.load_state(read)
    take_steps(trainer, 1, 2)
    for name, array in read.weights.items():
        np.testing.assert_array_equal(array, kept.weights[name] + np.float32(1.0), err_msg=name)


def test_given_weights_are_not_written_to(backend):
    weights = moved_weights()
    trainer = open_trainer(backend, weights=weights)
    take_steps(trainer, 0, 2)
    assert_same_arrays(weights, moved_weights())


# ── the average of the weights ────────────────────────────────────────────────────────────────────────────────────────
def test_average_follows_its_formula_and_training_does_not_notice_it(backend, optimizer):
    plain, averaging = open_trainer(backend, plan(optimizer)), open_trainer(backend, plan(optimizer, ema_decay=0.5))
    average = moved_weights()
    for step in range(12):
        take_steps(plain, step, step + 1)
        take_steps(averaging, step, step + 1)
        decay = min(0.5, (2 + step) / (11 + step))  # the warm start lasts nine updates
        trained = plain.read_state().weights
        average = {name: decay * array + (1 - decay) * trained[name] for name, array in average.items()}
    state = averaging.read_state()
    raw = {name.removeprefix(RAW): a for name, a in state.optimizer.items() if name.startswith(RAW)}
    assert_same_arrays(raw, plain.read_state().weights)
    for name, array in average.items():
        np.testing.assert_allclose(state.weights[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_average_is_what_is_scored_and_written_with(backend):
    trainer = open_trainer(backend, plan(ema_decay=0.9))
    take_steps(trainer, 0, 3)
    model = backend.open_model(SHAPE, trainer.read_state().weights, compute_for(backend))
    np.testing.assert_allclose(
        trainer.score(random_batch()).nll_BT, model.score(random_batch()).nll_BT, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        trainer.open_decoder().feed([5, 6]), model.open_decoder().feed([5, 6]), rtol=1e-5, atol=1e-6
    )
    trained = open_trainer(backend, plan())
    take_steps(trained, 0, 3)
    assert not np.allclose(trainer.score(random_batch()).nll_BT, trained.score(random_batch()).nll_BT, atol=1e-3)


def test_trainer_with_an_average_goes_on_bit_for_bit(backend, optimizer):
    training = plan(optimizer, dropout=0.1, ema_decay=0.9)
    trainer = open_trainer(backend, training)
    take_steps(trainer, 0, 3)
    state = trainer.read_state()
    assert set(state.optimizer) == set(optimizer_state_shapes(SHAPE, optimizer, is_averaged=True))
    resumed = open_trainer(backend, training, moved_weights(seed=99))
    resumed.load_state(state)
    assert_same_state(resumed.read_state(), state)
    assert take_steps(resumed, 3, 6) == take_steps(trainer, 3, 6)
    assert_same_state(resumed.read_state(), trainer.read_state())


def test_state_without_the_average_that_is_asked_for_is_refused(backend):
    with pytest.raises(ValueError, match="raw"):
        open_trainer(backend, plan(ema_decay=0.9)).load_state(open_trainer(backend).read_state())
    with pytest.raises(ValueError, match="raw"):
        open_trainer(backend).load_state(open_trainer(backend, plan(ema_decay=0.9)).read_state())


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_initial_state_is_that_of_a_new_trainer(backend, optimizer, ema_decay):
    training = plan(optimizer, ema_decay=ema_decay)
    weights = build_initial_weights(SHAPE, 7, training.init_scale)
    expected = open_trainer(backend, training, weights).read_state()
    assert_same_state(build_initial_state(SHAPE, training, seed=7), expected)


# ── the anatomy of an update ──────────────────────────────────────────────────────────────────────────────────────────
def test_watched_update_is_the_same_update(backend, optimizer):
    training = plan(optimizer, clip_norm=0.05, ema_decay=0.9)
    plain, watched = open_trainer(backend, training), open_trainer(backend, training)
    take_steps(plain, 0, 3)
    for step in range(3):
        watched.compute_gradients([random_batch(seed=step)], dropout_seed=step)
        watched.apply_watched_update(RATES)
    assert_same_state(watched.read_state(), plain.read_state())


def test_anatomy_says_what_an_update_did(backend, optimizer):
    trainer = open_trainer(backend, plan(optimizer, clip_norm=0.05))
    norm = trainer.compute_gradients([random_batch()], 0).norm
    anatomy = trainer.apply_watched_update(RATES)
    before, after = moved_weights(), trainer.read_state().weights
    assert list(anatomy) == list(weight_shapes(SHAPE))
    for name, found in anatomy.items():
        assert found.weight_norm == pytest.approx(np.linalg.norm(before[name]), rel=1e-5)
        assert found.update_norm == pytest.approx(np.linalg.norm(after[name] - before[name]), rel=1e-4)
        assert sum(found.octaves) == before[name].size
        assert len(found.octaves) == NUM_OCTAVES
    total = np.sqrt(sum(found.gradient_norm**2 for found in anatomy.values()))
    assert total == pytest.approx(norm, rel=1e-4)  # before clipping


def test_octaves_agree_with_the_gradients_norm(backend):
    trainer = open_trainer(backend)
    trainer.compute_gradients([random_batch()], 0)
    for name, found in trainer.apply_watched_update(RATES).items():
        lower = np.sqrt(sum(count * 4.0 ** (LOWEST_OCTAVE + octave) for octave, count in enumerate(found.octaves)))
        smallest = np.sqrt(found.octaves[0]) * 2.0**LOWEST_OCTAVE  # zeros are counted there too
        assert lower - smallest <= found.gradient_norm * (1 + 1e-5), name
        assert found.gradient_norm <= 2 * lower * (1 + 1e-5), name


def test_peak_of_the_machine_is_measured(backend):
    assert backend.measure_peak(compute_for(backend)) > 1e6


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


DAMAGE = {
    "missing": lambda weights: without(weights, Q0),
    "another shape": lambda weights: weights | {Q0: weights[Q0][:-1]},
    "one too many": lambda weights: weights | {"lm_head.weight": weights[Q0]},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_weights_that_do_not_fit_are_refused_by_name(backend, damage):
    weights = DAMAGE[damage](moved_weights())
    named = "lm_head.weight" if damage == "one too many" else Q0
    trainer = open_trainer(backend)
    before = trainer.read_state()
    with pytest.raises(ValueError, match=named):
        backend.open_trainer(SHAPE, weights, compute_for(backend), plan())
    with pytest.raises(ValueError, match=named):
        backend.open_model(SHAPE, weights, compute_for(backend))
    with pytest.raises(ValueError, match=named):
        trainer.load_state(replace(before, weights=weights))
    assert_same_state(trainer.read_state(), before)


def test_optimizer_state_that_does_not_fit_is_refused_by_name(backend):
    trainer = open_trainer(backend)
    before = trainer.read_state()
    name = f"adamw.second.{Q0}"
    for optimizer in (without(before.optimizer, name), before.optimizer | {name: before.optimizer[name][:-1]}):
        with pytest.raises(ValueError, match=name):
            trainer.load_state(replace(before, optimizer=optimizer))
    with pytest.raises(ValueError, match="muon"):
        trainer.load_state(replace(before, optimizer=before.optimizer | {f"muon.momentum.{Q0}": before.weights[Q0]}))
    assert_same_state(trainer.read_state(), before)


# ── scoring and writing ───────────────────────────────────────────────────────────────────────────────────────────────
def test_score_is_zero_and_false_where_ignored_and_changes_nothing(backend):
    batch, trainer = random_batch(), open_trainer(backend)
    before = trainer.read_state()
    scores = trainer.score(batch)
    is_ignored = batch.targets_BT == IGNORED
    assert is_ignored.any()
    assert scores.nll_BT.shape == scores.correct_BT.shape == batch.targets_BT.shape
    assert (scores.nll_BT.dtype, scores.correct_BT.dtype) == (np.dtype(np.float32), np.dtype(np.bool_))
    assert not scores.nll_BT[is_ignored].any()
    assert not scores.correct_BT[is_ignored].any()
    assert (scores.nll_BT[~is_ignored] > 0).all()
    assert_same_state(trainer.read_state(), before)


def test_scores_add_up_to_the_training_loss(backend):
    batch, trainer = random_batch(), open_trainer(backend)
    gradients, scores = trainer.compute_gradients([batch], 0), trainer.score(batch)
    assert scores.nll_BT.sum(dtype=np.float64) == pytest.approx(gradients.nll_sum, rel=1e-5)
    assert int(scores.correct_BT.sum()) == gradients.num_correct


def test_model_scores_as_the_trainer_does(backend):
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    found, expected = model.score(random_batch()), open_trainer(backend).score(random_batch())
    np.testing.assert_allclose(found.nll_BT, expected.nll_BT, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.correct_BT, expected.correct_BT)


def test_batch_with_nothing_to_score_scores_nothing(backend):
    batch = random_batch()
    scores = open_trainer(backend).score(replace(batch, targets_BT=np.full_like(batch.targets_BT, IGNORED)))
    assert not scores.nll_BT.any()
    assert not scores.correct_BT.any()


def test_decoder_says_what_the_scores_say(backend):
    batch = random_batch(rows=1, length=16, share_ignored=0.0)
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    scores, decoder = model.score(batch), model.open_decoder()
    for position, (token, target) in enumerate(zip(batch.tokens_BT[0], batch.targets_BT[0], strict=True)):
        logits = decoder.feed([int(token)])
        assert logits.shape == (SHAPE.vocab_size,)
        assert logits.dtype == np.float32
        nll = np.log(np.exp(logits - logits.max()).sum()) - (logits[target] - logits.max())
        assert nll == pytest.approx(scores.nll_BT[0, position], rel=1e-4, abs=1e-5)


def test_decoder_reads_the_same_in_pieces_as_at_once(backend):
    tokens = [int(token) for token in random_batch(rows=1, length=40).tokens_BT[0]]
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    at_once = model.open_decoder().feed(tokens)
    decoder = model.open_decoder()
    for piece in (tokens[:7], tokens[7:8], tokens[8:30]):
        assert not np.allclose(decoder.feed(piece), at_once, atol=1e-2)
    np.testing.assert_allclose(decoder.feed(tokens[30:]), at_once, rtol=1e-4, atol=1e-4)


def test_decoders_of_one_model_have_pasts_of_their_own(backend):
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    alone = model.open_decoder()
    expected = [alone.feed([5, 6]), alone.feed([7])]
    one, other = model.open_decoder(), model.open_decoder()
    first = one.feed([5, 6])
    other.feed([9, 9, 9])
    np.testing.assert_array_equal(first, expected[0])
    np.testing.assert_array_equal(one.feed([7]), expected[1])


def test_decoder_of_a_trainer_writes_with_its_newest_weights(backend):
    trainer = open_trainer(backend)
    before = trainer.open_decoder().feed([5, 6])
    take_steps(trainer, 0, 1)
    after = trainer.open_decoder().feed([5, 6])
    model = backend.open_model(SHAPE, trainer.read_state().weights, compute_for(backend))
    assert not np.allclose(before, after, atol=1e-4)
    np.testing.assert_allclose(model.open_decoder().feed([5, 6]), after, rtol=1e-4, atol=1e-5)


# ── several sequences at a time ───────────────────────────────────────────────────────────────────────────────────────
PROMPTS = ([5, 6], [9], list(range(1, 60)), [3, 1, 4, 1, 5, 9, 2, 6], [70, 70, 70])


def write_alone(model, prompt, count):
    """(tokens, logits) of a greedy text."""
    decoder, tokens, logits = model.open_decoder(), list(prompt), []
    for read in range(count):
        logits.append(decoder.feed(prompt if read == 0 else tokens[-1:]))
        tokens.append(int(np.argmax(logits[-1])))
    return tokens[len(prompt) :], np.stack(logits)


def test_sequences_that_are_written_together_say_what_each_says_alone(backend):
    # They come and go: each joins a step after the one before it, and is read past where memories are first grown.
    model, count = backend.open_model(SHAPE, moved_weights(), compute_for(backend)), 80
    together, written, logits, numbers = open_batch_decoder(model), {}, {}, {}
    for step in range(count + len(PROMPTS)):
        going = [i for i in written if len(written[i]) < count]
        if going:
            said = together.feed([numbers[i] for i in going], [written[i][-1] for i in going])
            for i, logits_V in zip(going, said, strict=True):
                logits[i].append(logits_V)
                written[i].append(int(np.argmax(logits_V)))
        for i in [i for i in going if len(written[i]) == count]:
            together.leave(numbers[i])
        if step < len(PROMPTS):
            numbers[step], logits_V = together.join(PROMPTS[step])
            written[step], logits[step] = [int(np.argmax(logits_V))], [logits_V]
    for i, prompt in enumerate(PROMPTS):
        tokens, alone = write_alone(model, prompt, count)
        assert written[i] == tokens
        # Only the order of summation differs, and what it leaves in keys and values of 80 positions.
        np.testing.assert_allclose(np.stack(logits[i]), alone, rtol=1e-3, atol=1e-4)


def test_a_sequence_that_sits_steps_out_goes_on_where_it_stood(backend):
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    together = open_batch_decoder(model)
    (first, _), (second, _), (third, _) = (together.join(prompt) for prompt in ([5, 6], [9, 9, 9], [2]))
    for _ in range(3):
        together.feed([third, first], [4, 7])
    expected = model.open_decoder()
    expected.feed([9, 9, 9])
    np.testing.assert_allclose(together.feed([second], [8])[0], expected.feed([8]), rtol=1e-4, atol=1e-5)
    together.leave(first)
    both = together.feed([third, second], [1, 2])
    others = model.open_decoder()
    others.feed([2, 4, 4, 4])
    np.testing.assert_allclose(both, [others.feed([1]), expected.feed([2])], rtol=1e-4, atol=1e-5)


def test_a_sequence_that_is_not_there_is_an_error_and_nothing_is_read(backend):
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    together, alone = open_batch_decoder(model), model.open_decoder()
    number, _ = together.join([5, 6])
    with pytest.raises(KeyError):
        together.feed([number, number + 1], [1, 1])
    alone.feed([5, 6])
    np.testing.assert_allclose(together.feed([number], [7])[0], alone.feed([7]), rtol=1e-4, atol=1e-5)
    together.leave(number)
    with pytest.raises(KeyError):
        together.leave(number)


def test_several_sequences_are_written_with_a_trainers_newest_weights(backend):
    trainer = open_trainer(backend)
    together = open_batch_decoder(trainer)
    before = together.feed([together.join([5, 6])[0]], [7])[0]
    take_steps(trainer, 0, 3)
    after = together.feed([together.join([5, 6])[0]], [7])[0]
    assert not np.allclose(before, after, atol=1e-3)
    np.testing.assert_allclose(after, trainer.open_decoder().feed([5, 6, 7]), rtol=1e-4, atol=1e-4)


def test_what_can_be_written_together_is(backend):
    """Those whose frameworks make it cheap, which is what a service asks; the others write in turn."""
    model = backend.open_model(SHAPE, moved_weights(), compute_for(backend))
    assert isinstance(model, Batching) == (backend.name in PLAIN)
