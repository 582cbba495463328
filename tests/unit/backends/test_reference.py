"""The reference backend's gradients, against finite differences and against autograd, and its trainer."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from trainwright.backends import reference_layers
from trainwright.backends import reference_math as formulas
from trainwright.backends.initial import EMBEDDING, build_initial_weights, weight_names
from trainwright.backends.protocol import IGNORED, Batch, Rates, count_within_segments
from trainwright.backends.reference import ReferenceBackend, ReferenceModel, ReferenceTrainer
from trainwright.backends.reference_layers import Dropout, compute_micro_batch
from trainwright.core.errors import InternalError, UnsupportedPlan
from trainwright.core.records import Compute, EarlyStopping, ModelShape, Optimizer, Schedule, TrainingPlan

SHAPE = ModelShape(
    vocab_size=23, hidden_size=12, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=6, intermediate_size=20
)
RATES = Rates(learning_rate=3e-3, matrix_learning_rate=0.02)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: nothing to compare with"
)


def plan(name="adamw", *, dropout=0.0, label_smoothing=0.0, **optimizer):
    settings = {
        "learning_rate": 3e-3,
        "beta1": 0.9,
        "beta2": 0.95,
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "matrix_learning_rate": 0.02,
        "matrix_weight_decay": 0.1,
    }
    return TrainingPlan(
        num_steps=1,
        steps_per_epoch=1,
        batch_size=1,
        accumulation=1,
        max_seq_length=32,
        optimizer=Optimizer(name=name, **(settings | optimizer)),
        schedule=Schedule(name="constant", num_warmup_steps=0, num_decay_steps=0, floor=0.0),
        label_smoothing=label_smoothing,
        dropout=dropout,
        init_scale=0.02,
        validate_every=1,
        checkpoint_every=1,
        keep_last=1,
        early_stopping=EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
        sample_prompts=(),
        sample_tokens=1,
    )


def random_weights(shape=SHAPE, seed=5):
    """Initial weights moved off their zeros and ones, so that no gradient is zero by construction."""
    random = np.random.default_rng(seed)
    weights = build_initial_weights(shape, seed, init_scale=0.3)
    return {name: (a + 0.2 * random.standard_normal(a.shape)).astype(np.float32) for name, a in weights.items()}


def random_batch(rows=3, length=7, seed=2, share_ignored=0.2, vocab_size=SHAPE.vocab_size):
    random = np.random.default_rng(seed)
    ids = random.integers(0, vocab_size, (rows, length + 1)).astype(np.int32)
    targets = np.where(random.random((rows, length)) < share_ignored, IGNORED, ids[:, 1:]).astype(np.int32)
    return Batch(ids[:, :-1].copy(), targets)


def as_float64(weights):
    return {name: array.astype(np.float64) for name, array in weights.items()}


def assert_same_state(state, other):
    assert state.num_updates == other.num_updates
    for mine, theirs in ((state.weights, other.weights), (state.optimizer, other.optimizer)):
        assert list(mine) == list(theirs)
        for name, array in mine.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


# ── each piece against central finite differences, float64 ────────────────────────────────────────────────────────────
def assert_gradient(function, arguments, gradients, seed=0, step=1e-6):
    """<gradient, direction> is how fast Σ cotangent·function moves along a random direction, for each argument."""
    random = np.random.default_rng(seed)
    for index, gradient in enumerate(gradients):
        assert gradient.shape == arguments[index].shape
        for _ in range(3):
            direction = random.standard_normal(arguments[index].shape)

            def moved(by, index=index, direction=direction):
                return function(*(a + by * direction if i == index else a for i, a in enumerate(arguments)))

            measured = (moved(step) - moved(-step)) / (2 * step)
            assert np.vdot(gradient, direction) == pytest.approx(measured, rel=1e-6, abs=1e-9), f"argument {index}"


@pytest.fixture
def random():
    return np.random.default_rng(11)


def test_linear_gradient(random):
    x, w, dy = random.standard_normal((2, 3, 5)), random.standard_normal((4, 5)), random.standard_normal((2, 3, 4))
    assert_gradient(lambda x, w: np.vdot(dy, formulas.linear(x, w)), [x, w], formulas.linear_backward(dy, x, w))


def test_embedding_gradient_adds_up_over_repeated_tokens(random):
    tokens, dx, w = np.array([[4, 1, 4], [4, 0, 1]]), random.standard_normal((2, 3, 5)), random.standard_normal((6, 5))
    gradient = formulas.embedding_backward(dx, tokens, 6)
    assert_gradient(lambda w: np.vdot(dx, w[tokens]), [w], [gradient])
    assert not gradient[[2, 3, 5]].any()


def test_rms_norm_gradient(random):
    x, w, dy = random.standard_normal((2, 3, 8)), random.standard_normal(8), random.standard_normal((2, 3, 8))
    _, inverse_rms = formulas.rms_norm(x, w, 1e-3)
    gradients = formulas.rms_norm_backward(dy, x, w, inverse_rms)
    assert_gradient(lambda x, w: np.vdot(dy, formulas.rms_norm(x, w, 1e-3)[0]), [x, w], gradients)


def test_rotation_gradient_is_the_rotation_backwards(random):
    rotation = formulas.build_rotation(3, 5, 8, 10_000.0, np.float64)
    x, dy = random.standard_normal((2, 5, 8)), random.standard_normal((2, 5, 8))
    assert_gradient(
        lambda x: np.vdot(dy, formulas.rotate(x, rotation)), [x], [formulas.rotate(dy, rotation.reversed())]
    )
    np.testing.assert_allclose(formulas.rotate(formulas.rotate(x, rotation), rotation.reversed()), x, atol=1e-12)


def test_rotated_products_depend_only_on_the_distance(random):
    rotation = formulas.build_rotation(0, 20, 8, 100.0, np.float64)
    q = formulas.rotate(np.tile(random.standard_normal(8), (20, 1)), rotation)
    k = formulas.rotate(np.tile(random.standard_normal(8), (20, 1)), rotation)
    products = q @ k.T
    np.testing.assert_allclose(products[:-5, :-5], products[5:, 5:], atol=1e-12)
    assert abs(products[0, 0] - products[0, 1]) > 1e-3


@pytest.mark.parametrize("visible", [4, 6], ids=["no past", "past of two"])
def test_attention_gradient(random, visible):
    q, dy = random.standard_normal((2, 2, 3, 4, 6)), random.standard_normal((2, 2, 3, 4, 6))
    k, v = random.standard_normal((2, 2, visible, 6)), random.standard_normal((2, 2, visible, 6))
    _, probabilities = formulas.attend(q, k, v)
    gradients = formulas.attend_backward(dy, q, k, v, probabilities)
    assert_gradient(lambda q, k, v: np.vdot(dy, formulas.attend(q, k, v)[0]), [q, k, v], gradients)


def test_attention_does_not_see_the_future(random):
    q = random.standard_normal((1, 1, 2, 5, 4))
    k, v = random.standard_normal((1, 1, 5, 4)), random.standard_normal((1, 1, 5, 4))
    before, probabilities = formulas.attend(q, k, v)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0)
    k[..., 3:, :] += 1.0
    v[..., 3:, :] += 1.0
    after, _ = formulas.attend(q, k, v)
    np.testing.assert_array_equal(before[..., :3, :], after[..., :3, :])
    assert not np.allclose(before[..., 3:, :], after[..., 3:, :])


def test_swiglu_gradient(random):
    gate, up, dy = (random.standard_normal((3, 7)) for _ in range(3))
    assert_gradient(lambda g, u: np.vdot(dy, formulas.swiglu(g, u)), [gate, up], formulas.swiglu_backward(dy, gate, up))


def test_swiglu_of_huge_numbers_does_not_overflow():
    gate = np.array([-1e4, 1e4], dtype=np.float32)
    np.testing.assert_array_equal(formulas.swiglu(gate, np.ones(2, np.float32)), [0.0, 1e4])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_gradient(random, smoothing):
    logits, targets = 3 * random.standard_normal((5, 9)), np.array([0, 8, 3, 3, 1])
    gradient = formulas.smoothed_cross_entropy_backward(formulas.log_softmax(logits), targets, smoothing)

    def objective(logits):
        return formulas.smoothed_cross_entropy(formulas.log_softmax(logits), targets, smoothing)[1].sum()

    assert_gradient(objective, [logits], [gradient])


# ── the whole model ───────────────────────────────────────────────────────────────────────────────────────────────────
def whole_model(weights, batch, shape=SHAPE, smoothing=0.1, dropout=0.25):
    """(mean objective, gradients) with everything switched on; the dropout seed is fixed."""
    result = compute_micro_batch(weights, shape, batch, batch.num_targets, smoothing, Dropout(dropout, seed=9))
    return result.objective_sum / batch.num_targets, result.gradients


@pytest.mark.parametrize("name", weight_names(SHAPE))
def test_gradient_of_every_weight_against_finite_differences(name):
    weights, batch, step = as_float64(random_weights()), random_batch(), 1e-6
    _, gradients = whole_model(weights, batch)
    random = np.random.default_rng(0)
    for _ in range(2):
        direction = random.standard_normal(weights[name].shape)
        above, _ = whole_model(weights | {name: weights[name] + step * direction}, batch)
        below, _ = whole_model(weights | {name: weights[name] - step * direction}, batch)
        assert np.vdot(gradients[name], direction) == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_gradient_of_the_whole_model_along_random_directions():
    weights, batch, step = as_float64(random_weights()), random_batch(), 1e-6
    _, gradients = whole_model(weights, batch)
    assert set(gradients) == set(weights)
    random = np.random.default_rng(1)
    for _ in range(4):
        direction = {name: random.standard_normal(array.shape) for name, array in weights.items()}
        above, _ = whole_model({n: a + step * direction[n] for n, a in weights.items()}, batch)
        below, _ = whole_model({n: a - step * direction[n] for n, a in weights.items()}, batch)
        along = sum(np.vdot(gradients[name], direction[name]) for name in weights)
        assert along == pytest.approx((above - below) / (2 * step), rel=1e-6)


def torch_objective(w, shape, batch, smoothing):
    """The model once more, by someone who only knows torch's own functions. Returns (logits, mean objective)."""
    import torch

    F = torch.nn.functional
    tokens, targets = torch.from_numpy(batch.tokens_BT).long(), torch.from_numpy(batch.targets_BT).long()
    B, T = tokens.shape
    E, eps = shape.head_dim, shape.norm_epsilon
    inverse = shape.rope_theta ** (-torch.arange(0, E, 2, dtype=torch.float64) / E)
    angles = torch.outer(torch.arange(T, dtype=torch.float64), inverse).repeat(1, 2)

    def turn(x):
        a, b = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()

    x = F.embedding(tokens, w[EMBEDDING])
    for layer in range(shape.num_layers):
        p = f"model.layers.{layer}."
        h = F.rms_norm(x, (shape.hidden_size,), w[p + "input_layernorm.weight"], eps)
        q, k, v = (
            F.linear(h, w[f"{p}self_attn.{part}_proj.weight"]).view(B, T, -1, E).transpose(1, 2) for part in "qkv"
        )
        q = turn(F.rms_norm(q, (E,), w[p + "self_attn.q_norm.weight"], eps))
        k = turn(F.rms_norm(k, (E,), w[p + "self_attn.k_norm.weight"], eps))
        share = shape.num_heads // shape.num_kv_heads
        k, v = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, -1)
        x = x + F.linear(y, w[p + "self_attn.o_proj.weight"])
        h = F.rms_norm(x, (shape.hidden_size,), w[p + "post_attention_layernorm.weight"], eps)
        gate, up = F.linear(h, w[p + "mlp.gate_proj.weight"]), F.linear(h, w[p + "mlp.up_proj.weight"])
        x = x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
    logits = F.linear(F.rms_norm(x, (shape.hidden_size,), w["model.norm.weight"], eps), w[EMBEDDING])
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
    return logits, loss


@needs_torch
@pytest.mark.parametrize("kv_heads", [1, 2, 4], ids=["one for all", "one for two", "one each"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_equal_autograd(kv_heads, smoothing):
    import torch

    shape = SHAPE.model_copy(update={"num_kv_heads": kv_heads})
    weights, batch = as_float64(random_weights(shape)), random_batch()
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    _, loss = torch_objective(leaves, shape, batch, smoothing)
    loss.backward()
    objective, gradients = whole_model(weights, batch, shape, smoothing, dropout=0.0)
    assert objective == pytest.approx(loss.item(), rel=1e-12)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(gradients[name], leaf.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@needs_torch
def test_decoder_logits_equal_torch_at_every_position():
    import torch

    weights, batch = random_weights(), random_batch(rows=1, length=9)
    leaves = {name: torch.tensor(array.astype(np.float64)) for name, array in weights.items()}
    logits, _ = torch_objective(leaves, SHAPE, batch, 0.0)
    decoder = ReferenceModel(SHAPE, weights, np.float64).open_decoder()
    for position, token in enumerate(batch.tokens_BT[0]):
        written = decoder.feed([int(token)])
        assert written.dtype == np.float32
        np.testing.assert_allclose(written, logits[0, position].numpy(), rtol=1e-5, atol=1e-6)


# ── optimizers ────────────────────────────────────────────────────────────────────────────────────────────────────────
@needs_torch
def test_adamw_and_clipping_equal_torchs_own_for_many_steps(random):
    import torch

    leaf = torch.tensor(random.standard_normal((5, 4)), requires_grad=True)
    weight, first, second = leaf.detach().numpy().copy(), np.zeros((5, 4)), np.zeros((5, 4))
    theirs = torch.optim.AdamW([leaf], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in range(1, 21):
        gradient = random.standard_normal((5, 4)) * 10 ** random.uniform(-3, 1)
        leaf.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([leaf], 1.0)
        theirs.step()
        clipped = formulas.clip_factor(formulas.l2_norm([gradient]), 1.0) * gradient
        weight, first, second = formulas.AdamW(0.01, 0.9, 0.95, 1e-8, 0.1, step).update(weight, clipped, first, second)
        np.testing.assert_allclose(weight, leaf.detach().numpy(), rtol=1e-10)


def test_clipping_shortens_only_what_is_too_long():
    assert formulas.clip_factor(4.0, 1.0) == pytest.approx(0.25, rel=1e-5)
    assert formulas.clip_factor(0.5, 1.0) == 1.0
    assert formulas.clip_factor(1e9, 0.0) == 1.0
    assert formulas.l2_norm([np.array([3.0]), np.array([[4.0, 0.0]])]) == 5.0


@pytest.mark.parametrize("size", [(6, 6), (4, 9), (9, 4)])
def test_orthogonalize_keeps_directions_and_evens_out_lengths(random, size):
    matrix = random.standard_normal(size)
    u, singular, v = np.linalg.svd(matrix, full_matrices=False)
    result = formulas.orthogonalize(matrix)
    stretched = u.T @ result @ v.T
    np.testing.assert_allclose(stretched, np.diag(np.diag(stretched)), atol=1e-10)
    # From a singular value of 0.02 on, five iterations arrive between 0.68 and 1.13 (Jordan et al. 2024).
    arrived = np.diag(stretched)[singular / np.linalg.norm(singular) > 0.02]
    assert arrived.size >= 3
    assert arrived.min() > 0.65
    assert arrived.max() < 1.25


def test_orthogonalize_leaves_zero_at_zero():
    assert not formulas.orthogonalize(np.zeros((3, 5), np.float32)).any()


def test_muon_update_by_hand(random):
    weight, gradient, buffer = (random.standard_normal((8, 2)) for _ in range(3))
    updated, momentum = formulas.Muon(0.02, 0.9, 0.5).update(weight, gradient, buffer)
    np.testing.assert_allclose(momentum, 0.9 * buffer + gradient)
    direction = formulas.orthogonalize(gradient + 0.9 * momentum) * 2.0  # sqrt(8/2)
    np.testing.assert_allclose(updated, weight * (1 - 0.02 * 0.5) - 0.02 * direction)


def test_muon_takes_the_matrices_and_adamw_the_rest():
    trainer = ReferenceTrainer(SHAPE, random_weights(), plan("muon"))
    before = trainer.read_state()
    trainer.compute_gradients([random_batch()], 0)
    trainer.apply_update(Rates(learning_rate=0.0, matrix_learning_rate=0.02))
    after = trainer.read_state()
    moved = {name for name in before.weights if not np.array_equal(before.weights[name], after.weights[name])}
    assert moved == {name for name in before.weights if name.endswith("_proj.weight")}


# ── the trainer ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_one_by_eight_is_two_by_four_is_eight_by_one(dropout):
    whole = random_batch(rows=8, share_ignored=0.4)
    found = []
    for rows in (8, 4, 1):
        cut = [Batch(whole.tokens_BT[i : i + rows], whole.targets_BT[i : i + rows]) for i in range(0, 8, rows)]
        trainer = ReferenceTrainer(SHAPE, random_weights(), plan(dropout=dropout), np.float64)
        found.append((trainer.compute_gradients(cut, dropout_seed=4), trainer.gradients))
    (first, first_gradients), *others = found
    for gradients, arrays in others:
        assert gradients.num_targets == first.num_targets == whole.num_targets
        assert gradients.num_correct == first.num_correct
        assert gradients.nll_sum == pytest.approx(first.nll_sum, rel=1e-12)
        assert gradients.norm == pytest.approx(first.norm, rel=1e-12)
        for name, array in arrays.items():
            np.testing.assert_allclose(array, first_gradients[name], rtol=1e-9, atol=1e-14, err_msg=name)


def test_ignored_targets_have_no_loss_and_no_gradient():
    batch = random_batch(rows=2, length=6, share_ignored=0.0)
    targets = batch.targets_BT.copy()
    targets[1], targets[0, 4:] = IGNORED, IGNORED
    trainer = ReferenceTrainer(SHAPE, random_weights(), plan(), np.float64)
    partly = trainer.compute_gradients([Batch(batch.tokens_BT, targets)], 0)
    arrays = trainer.gradients
    alone = trainer.compute_gradients([Batch(batch.tokens_BT[:1, :4], batch.targets_BT[:1, :4])], 0)
    assert partly.num_targets == alone.num_targets == 4
    assert partly.nll_sum == pytest.approx(alone.nll_sum, rel=1e-12)
    for name, array in trainer.gradients.items():
        np.testing.assert_allclose(arrays[name], array, rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(
    ("field", "value"), [("tokens_BT", -1), ("tokens_BT", 23), ("targets_BT", -2), ("targets_BT", 23)]
)
def test_id_outside_the_vocabulary_is_refused(field, value):
    batch = random_batch()
    array = getattr(batch, field).copy()
    array[1, 2] = value
    trainer = ReferenceTrainer(SHAPE, random_weights(), plan())
    for use in (trainer.score, lambda bad: trainer.compute_gradients([bad], 0)):
        with pytest.raises(ValueError, match="outside the vocabulary of 23"):
            use(replace(batch, **{field: array}))


def test_tokens_and_targets_of_different_shape_are_refused():
    batch = random_batch()
    with pytest.raises(ValueError, match="not one non-empty"):
        ReferenceModel(SHAPE, random_weights()).score(replace(batch, targets_BT=batch.targets_BT[:, 1:]))


def test_loss_of_untrained_weights_is_that_of_guessing():
    trainer = ReferenceTrainer(SHAPE, build_initial_weights(SHAPE, 3, init_scale=1e-4), plan())
    gradients = trainer.compute_gradients([random_batch()], 0)
    assert gradients.loss == pytest.approx(np.log(SHAPE.vocab_size), abs=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_one_step_reduces_the_loss_and_many_learn_the_batch(optimizer):
    trainer = ReferenceTrainer(SHAPE, build_initial_weights(SHAPE, 3, 0.02), plan(optimizer, weight_decay=0.0))
    batch = random_batch(rows=2, share_ignored=0.0)
    losses = []
    for step in range(120):
        losses.append(trainer.compute_gradients([batch], step).loss)
        trainer.apply_update(Rates(0.01, 0.02))
    assert losses[1] < losses[0]
    assert losses[-1] < 0.1
    assert trainer.score(batch).correct_BT.all()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_trainer_goes_on_bit_for_bit(optimizer):
    batches = [random_batch(seed=seed) for seed in range(6)]
    training = plan(optimizer, dropout=0.1, label_smoothing=0.05)
    trainer = ReferenceTrainer(SHAPE, random_weights(), training)
    for step, batch in enumerate(batches[:3]):
        trainer.compute_gradients([batch], step)
        trainer.apply_update(RATES)
    # As it comes back from disk: in another order.
    state = trainer.read_state()
    shuffled = replace(
        state, weights=dict(sorted(state.weights.items())), optimizer=dict(sorted(state.optimizer.items()))
    )
    resumed = ReferenceTrainer(SHAPE, dict(sorted(random_weights(seed=99).items())), training)
    resumed.load_state(shuffled)
    assert_same_state(resumed.read_state(), state)
    for step, batch in enumerate(batches[3:], start=3):
        assert trainer.compute_gradients([batch], step) == resumed.compute_gradients([batch], step)
        trainer.apply_update(RATES)
        resumed.apply_update(RATES)
    assert_same_state(resumed.read_state(), trainer.read_state())


def test_non_finite_weights_are_reported_and_left_alone():
    weights = random_weights()
    weights["model.layers.1.mlp.up_proj.weight"][3, 2] = np.nan
    trainer = ReferenceTrainer(SHAPE, weights, plan())
    gradients = trainer.compute_gradients([random_batch()], 0)
    assert not gradients.is_finite
    for name, array in trainer.read_state().weights.items():
        np.testing.assert_array_equal(array, weights[name])


def test_huge_weights_give_a_value_and_no_warning():
    weights = random_weights()
    weights["model.norm.weight"] *= np.float32(1e38)
    trainer = ReferenceTrainer(SHAPE, weights, plan())
    assert not trainer.compute_gradients([random_batch()], 0).is_finite
    assert not np.isfinite(trainer.score(random_batch()).nll_BT).all()


def test_update_without_gradients_is_a_fault_of_ours():
    trainer = ReferenceTrainer(SHAPE, random_weights(), plan())
    with pytest.raises(InternalError):
        trainer.apply_update(RATES)
    trainer.compute_gradients([random_batch()], 0)
    trainer.apply_update(RATES)
    with pytest.raises(InternalError):
        trainer.apply_update(RATES)


def test_refused_state_changes_nothing():
    trainer = ReferenceTrainer(SHAPE, random_weights(), plan())
    before = trainer.read_state()
    foreign = ReferenceTrainer(SHAPE, random_weights(seed=8), plan("muon")).read_state()
    with pytest.raises(ValueError, match=r"optimizer array adamw\.first\S+ is missing"):
        trainer.load_state(foreign)
    assert_same_state(trainer.read_state(), before)


def test_dropout_masks_keep_the_mean_and_depend_on_the_seed_alone():
    like = np.zeros((50, 40, 12), dtype=np.float32)
    mask = Dropout(0.25, seed=1).draw(like, 0, "attention")
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0.0), np.float32(1.0 / 0.75)}
    assert mask.mean() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(mask, Dropout(0.25, seed=1).draw(like, 0, "attention"))
    for other in (Dropout(0.25, 2).draw(like, 0, "attention"), Dropout(0.25, 1).draw(like, 1, "attention")):
        assert not np.array_equal(mask, other)
    assert not np.array_equal(mask, Dropout(0.25, 1).draw(like, 0, "feed-forward"))
    assert Dropout(0.0, seed=1).draw(like, 0, "attention") is None


def test_equal_logits_rank_the_lowest_id_first():
    weights = random_weights()
    weights[EMBEDDING][:] = weights[EMBEDDING][0]
    tokens = np.zeros((1, 3), np.int32)
    scores = ReferenceModel(SHAPE, weights).score(Batch(tokens, np.array([[0, 1, IGNORED]], np.int32)))
    np.testing.assert_array_equal(scores.correct_BT, [[True, False, False]])
    np.testing.assert_allclose(scores.nll_BT, [[np.log(23), np.log(23), 0.0]], rtol=1e-6)


def test_decoder_needs_a_token_and_goes_on_after_a_refused_one():
    model = ReferenceModel(SHAPE, random_weights())
    plain, troubled = model.open_decoder(), model.open_decoder()
    with pytest.raises(ValueError, match="not one non-empty"):
        troubled.feed([])
    for decoder in (plain, troubled):
        decoder.feed([3, 1])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        troubled.feed([2, 23])
    np.testing.assert_array_equal(troubled.feed([2]), plain.feed([2]))


# ── the backend ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_probe_runs_on_the_cpu_and_says_what_else_is_missing():
    works = ReferenceBackend().probe("cpu")
    assert works.works
    assert works.version == np.__version__
    assert works.device_name
    refused = ReferenceBackend().probe("cuda")
    assert not refused.works
    assert "'cuda'" in refused.problem
    assert refused.remedy


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("dtype", "bfloat16"), ("compile", True)])
def test_plan_it_cannot_run_is_refused(key, value):
    compute = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
    ReferenceBackend().open_model(SHAPE, random_weights(), compute)
    asked = compute.model_copy(update={key: value})
    with pytest.raises(UnsupportedPlan, match=key):
        ReferenceBackend().open_trainer(SHAPE, random_weights(), asked, plan())
    with pytest.raises(UnsupportedPlan, match=key):
        ReferenceBackend().open_model(SHAPE, random_weights(), asked)


# ── samples that share a row ──────────────────────────────────────────────────────────────────────────────────────────
def test_loss_of_one_sample_has_no_gradient_at_the_inputs_of_another(monkeypatch):
    kept = {}

    def keep(dx_NTD, tokens_NT, vocab_size):
        kept["dx"] = dx_NTD
        return formulas.embedding_backward(dx_NTD, tokens_NT, vocab_size)

    monkeypatch.setattr(reference_layers, "embedding_backward", keep)
    batch = random_batch(rows=1, length=12, share_ignored=0.0)
    segments = np.repeat(np.array([[0, 1, 2]], np.int32), [5, 4, 3], axis=1)
    targets = np.where(segments == 1, batch.targets_BT, IGNORED)
    compute_micro_batch(random_weights(), SHAPE, Batch(batch.tokens_BT, targets, segments), 4)
    is_own = segments[0] == 1
    assert np.abs(kept["dx"][0, is_own]).min(axis=0).all()
    assert not kept["dx"][0, ~is_own].any()


def test_places_count_from_each_segments_first_token():
    segments = np.array([[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 1]], np.int32)
    np.testing.assert_array_equal(count_within_segments(segments), [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]])


@pytest.mark.parametrize("segments", [[1, 1, 2], [0, 2, 2], [0, 1, 0], [0, 0]])
def test_segments_that_are_numbered_otherwise_are_refused(segments):
    batch = Batch(np.zeros((1, 3), np.int32), np.zeros((1, 3), np.int32), np.array([segments], np.int32))
    with pytest.raises(ValueError, match="segments"):
        ReferenceModel(SHAPE, random_weights()).score(batch)
