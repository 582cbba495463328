"""The pieces of the torch backend that are written by hand, each against autograd or the reference's own formula."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'trainwright[torch]'")

from trainwright.backends import reference_math, torch_network  # noqa: E402
from trainwright.backends.initial import build_initial_weights, weight_shapes  # noqa: E402
from trainwright.backends.protocol import IGNORED, Batch, Rates  # noqa: E402
from trainwright.backends.torch import TorchBackend  # noqa: E402
from trainwright.backends.torch_network import (  # noqa: E402
    PLAIN,
    Arithmetic,
    HeadCrossEntropy,
    Rotary,
    attend_causally,
    causal_bias,
    draw_chances,
    drop,
    pack,
    rms_norm,
    run_layers,
    segment_bias,
    split_packed,
)
from trainwright.backends.torch_optimizer import orthogonalise, to_array  # noqa: E402
from trainwright.core.manifest import parse_manifest  # noqa: E402
from trainwright.core.plan import resolve_training  # noqa: E402
from trainwright.core.records import Compute, ModelShape  # noqa: E402

SHAPE = ModelShape(
    vocab_size=31, hidden_size=16, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=6, intermediate_size=20
)
COMPUTE = Compute(framework="torch", device="cpu", dtype="float32", compile=False, num_threads=1)
RATES = Rates(3e-3, 0.02)


def random(*size, seed=0, scale=1.0):
    return scale * torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def moved_weights(seed=5):
    """Initial weights moved off their zeros and ones."""
    generator = np.random.default_rng(seed)
    weights = build_initial_weights(SHAPE, seed, init_scale=0.3)
    return {name: (a + 0.1 * generator.standard_normal(a.shape)).astype(np.float32) for name, a in weights.items()}


def training(*overrides):
    asked = ["train.batch_size=2", "train.max_seq_length=32", *overrides]
    return resolve_training(parse_manifest(None, asked).train, 10, 10)


def batch(rows=2, length=12, seed=0):
    ids = np.random.default_rng(seed).integers(0, SHAPE.vocab_size, (rows, length + 1)).astype(np.int32)
    return Batch(ids[:, :-1].copy(), ids[:, 1:].copy())


def assert_close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=atol)


# ── packing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_packed_weights_come_apart_as_they_were():
    weights = moved_weights()
    packed = pack(weights, SHAPE, "cpu")
    assert packed["0.qkv"].shape == ((4 + 2 + 2) * 6, 16)
    assert packed["1.gate_up"].shape == (40, 16)
    apart = split_packed(packed, SHAPE)
    assert set(apart) == set(weight_shapes(SHAPE))
    for name, tensor in apart.items():
        np.testing.assert_array_equal(to_array(tensor), weights[name], err_msg=name)


def test_packing_copies_and_splitting_does_not():
    weights = moved_weights()
    packed = pack(weights, SHAPE, "cpu")
    before = {name: array.copy() for name, array in weights.items()}
    for tensor in packed.values():
        tensor.add_(1.0)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    split_packed(packed, SHAPE)["model.layers.0.self_attn.k_proj.weight"].zero_()
    assert torch.count_nonzero(packed["0.qkv"] == 0) == 2 * 6 * 16


def test_part_of_the_packed_weights_comes_apart_alone():
    packed = pack(moved_weights(), SHAPE, "cpu")
    assert list(split_packed({"1.down": packed["1.down"]}, SHAPE)) == ["model.layers.1.mlp.down_proj.weight"]


# ── positions and norms ───────────────────────────────────────────────────────────────────────────────────────────────
def test_rotation_is_the_references():
    x = random(1, 2, 9, 6)
    found = Rotary.build(SHAPE, 9, "cpu", first=3).turn(x)
    rotation = reference_math.build_rotation(3, 9, 6, SHAPE.rope_theta, np.float32)
    expected = reference_math.rotate(x.numpy(), rotation)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_rotation_of_later_positions_is_a_piece_of_the_whole():
    whole, piece = Rotary.build(SHAPE, 50, "cpu"), Rotary.build(SHAPE, 7, "cpu", first=40)
    assert torch.equal(whole.cos_TE[40:47], piece.cos_TE)
    assert torch.equal(whole.sin_TE[40:47], piece.sin_TE)


def test_rotation_keeps_lengths_and_depends_on_the_distance_alone():
    q, k = random(1, 1, 1, 6, seed=1), random(1, 1, 1, 6, seed=2)

    def product(first, second):
        turned_q = Rotary.build(SHAPE, 1, "cpu", first=first).turn(q)
        turned_k = Rotary.build(SHAPE, 1, "cpu", first=second).turn(k)
        assert_close(turned_q.norm(), q.norm())
        return (turned_q * turned_k).sum()

    assert_close(product(5, 2), product(1005, 1002), atol=1e-4)
    assert abs(product(5, 2) - product(5, 3)) > 1e-3


def test_norm_is_the_references():
    x, weight = random(3, 4, 16, scale=5.0), random(16, seed=1)
    expected = reference_math.rms_norm(x.numpy(), weight.numpy(), 1e-6)[0]
    np.testing.assert_allclose(rms_norm(x, weight, 1e-6).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_norm_of_narrow_numbers_is_worked_out_wide():
    x = random(2, 16, scale=3.0).to(torch.bfloat16)
    assert rms_norm(x, torch.ones(16), 1e-6).dtype == torch.float32
    assert_close(rms_norm(x, torch.ones(16), 1e-6), rms_norm(x.float(), torch.ones(16), 1e-6))


def test_bias_lets_nobody_see_the_future():
    assert causal_bias(3, "cpu").tolist() == [[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]]


# ── attention ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def plain_attention(q, k, v):
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + causal_bias(q.shape[2], "cpu")
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("is_kept", [True, False])
def test_attention_and_its_gradients_are_those_of_autograd(num_kv_heads, is_kept, monkeypatch):
    monkeypatch.setattr(torch_network, "LONGEST_KEPT", 512 if is_kept else 0)
    sizes = [(2, 4, 7, 6), (2, num_kv_heads, 7, 6), (2, num_kv_heads, 7, 6)]
    inputs = [random(*size, seed=number, scale=2.0) for number, size in enumerate(sizes)]
    mine = [tensor.clone().requires_grad_() for tensor in inputs]
    theirs = [tensor.clone().requires_grad_() for tensor in inputs]
    found, expected = attend_causally(*mine, causal_bias(7, "cpu")), plain_attention(*theirs)
    assert_close(found, expected)
    upstream = random(2, 4, 7, 6, seed=9)
    found.backward(upstream)
    expected.backward(upstream)
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one.grad, other.grad)


def test_attention_does_not_see_the_future():
    q, k, v = (random(1, 2, 6, 4, seed=seed) for seed in range(3))
    before = attend_causally(q, k, v, causal_bias(6, "cpu"))
    k[:, :, 4:], v[:, :, 4:] = 100.0, -100.0
    after = attend_causally(q, k, v, causal_bias(6, "cpu"))
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4:], after[:, :, 4:])


def test_scores_that_are_huge_do_not_overflow():
    q = random(1, 1, 5, 4, scale=1e4)
    assert torch.isfinite(attend_causally(q, q, q, causal_bias(5, "cpu"))).all()


# ── head and loss ─────────────────────────────────────────────────────────────────────────────────────────────────────
def head_loss(x, embedding, targets, smoothing):
    x, embedding = x.clone().requires_grad_(), embedding.clone().requires_grad_()
    objective, nll, hits = HeadCrossEntropy.apply(x, embedding, targets, smoothing, PLAIN)
    objective.backward(torch.tensor(0.25))
    return objective.detach(), nll, hits, x.grad, embedding.grad


def autograd_loss(x, embedding, targets, smoothing):
    x, embedding = x.clone().requires_grad_(), embedding.clone().requires_grad_()
    logits = x @ embedding.t()
    settings = {"ignore_index": IGNORED, "reduction": "sum"}
    objective = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, **settings)
    nll = torch.nn.functional.cross_entropy(logits, targets, **settings)
    objective.backward(torch.tensor(0.25))
    return objective.detach(), nll.detach(), (logits.argmax(1) == targets).sum(), x.grad, embedding.grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_rows", [1, 4, 20, 512])
def test_loss_hits_and_gradients_are_those_of_autograd(smoothing, chunk_rows, monkeypatch):
    monkeypatch.setattr(torch_network, "CHUNK_ROWS", chunk_rows)
    x, embedding = random(20, 16), random(31, 16, seed=1)
    targets = torch.randint(0, 31, (20,), generator=torch.Generator().manual_seed(2))
    targets[[0, 5, 6, 7, 8, 19]] = IGNORED
    targets[1] = (x[1] @ embedding.t()).argmax()
    for found, expected in zip(
        head_loss(x, embedding, targets, smoothing), autograd_loss(x, embedding, targets, smoothing), strict=True
    ):
        assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows_without_a_target_have_no_loss_and_no_gradient(smoothing):
    x, embedding = random(6, 16), random(31, 16, seed=1)
    nothing = torch.full((6,), IGNORED)
    for found in head_loss(x, embedding, nothing, smoothing):
        assert torch.count_nonzero(found) == 0


def test_logits_that_are_huge_do_not_overflow():
    x, embedding = random(4, 16, scale=1e3), random(31, 16, seed=1, scale=1e3)
    assert all(torch.isfinite(found).all() for found in head_loss(x, embedding, torch.tensor([0, 1, 2, 3]), 0.1))


def test_number_that_is_none_shows_in_the_loss():
    x = random(4, 16)
    x[2, 3] = float("nan")
    _, nll, _, gradient, _ = head_loss(x, random(31, 16, seed=1), torch.tensor([0, 1, 2, 3]), 0.0)
    assert torch.isnan(nll)
    assert torch.isnan(gradient[2]).all()


# ── the whole network ─────────────────────────────────────────────────────────────────────────────────────────────────
def hidden(dtype=torch.float32, length=12):
    tokens = torch.from_numpy(batch(length=length).tokens_BT).long()
    rotary, bias = Rotary.build(SHAPE, length, "cpu"), causal_bias(length, "cpu")
    return run_layers(pack(moved_weights(), SHAPE, "cpu"), tokens, rotary, bias, SHAPE, Arithmetic(dtype))


def test_long_windows_are_computed_as_short_ones_are(monkeypatch):
    kept = hidden()
    monkeypatch.setattr(torch_network, "LONGEST_KEPT", 4)
    assert_close(hidden(), kept)


def test_narrow_arithmetic_is_near_the_wide_one():
    wide, narrow = hidden(), hidden(torch.bfloat16)
    assert narrow.dtype == torch.bfloat16
    assert torch.linalg.vector_norm(narrow.float() - wide) < 0.03 * torch.linalg.vector_norm(wide)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_narrow_training_is_a_function_of_its_state(dropout):
    compute = COMPUTE.model_copy(update={"dtype": "bfloat16"})
    plan = training(f"train.dropout={dropout}")

    def go_on(trainer, first, last):
        for step in range(first, last):
            trainer.compute_gradients([batch(seed=step)], dropout_seed=step)
            trainer.apply_update(RATES)
        return trainer.read_state()

    whole = go_on(TorchBackend().open_trainer(SHAPE, moved_weights(), compute, plan), 0, 6)
    half = go_on(TorchBackend().open_trainer(SHAPE, moved_weights(), compute, plan), 0, 3)
    resumed = TorchBackend().open_trainer(SHAPE, moved_weights(seed=1), compute, plan)
    resumed.load_state(half)
    again = go_on(resumed, 3, 6)
    for mine, theirs in ((again.weights, whole.weights), (again.optimizer, whole.optimizer)):
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_opening_a_model_settles_threads_and_determinism():
    TorchBackend().open_model(SHAPE, moved_weights(), COMPUTE)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("pieces", [[1] * 150, [100, 1, 49], [3, 80, 1, 66], [63, 1, 1, 85]])
@pytest.mark.parametrize("longest_kept", [512, 32])
def test_decoder_reads_the_same_in_pieces_however_its_cache_grows(pieces, longest_kept, monkeypatch):
    monkeypatch.setattr(torch_network, "LONGEST_KEPT", longest_kept)
    model = TorchBackend().open_model(SHAPE, moved_weights(), COMPUTE)
    tokens = [(7 * place * place + place) % SHAPE.vocab_size for place in range(150)]
    decoder, start = model.open_decoder(), 0
    for size in pieces:
        found = decoder.feed(tokens[start : start + size])
        start += size
    np.testing.assert_allclose(found, model.open_decoder().feed(tokens), rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32
    assert found.shape == (SHAPE.vocab_size,)


# ── Muon ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [(4, 4), (5, 9)])
def test_orthogonalised_matrices_are_the_references(size):
    lying = random(3, *size, seed=3)
    found = orthogonalise(lying, torch.float32)
    for one, matrix in zip(found, lying, strict=True):
        np.testing.assert_allclose(one.numpy(), reference_math.orthogonalize(matrix.numpy()), rtol=1e-3, atol=1e-4)


def test_singular_values_come_near_one_in_either_width():
    lying = random(2, 12, 40, seed=3)
    for dtype in (torch.float32, torch.bfloat16):
        found = orthogonalise(lying, dtype)
        assert found.dtype == torch.float32
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_gradient_of_zero_moves_nothing():
    assert torch.count_nonzero(orthogonalise(torch.zeros(2, 3, 5), torch.float32)) == 0


def test_equal_matrices_get_equal_updates_whatever_they_are_updated_with():
    one = random(1, 5, 9, seed=4)
    together = orthogonalise(torch.cat([one, random(2, 5, 9, seed=5)]), torch.float32)
    assert_close(together[0], orthogonalise(one, torch.float32)[0])


def test_capabilities_say_what_the_class_does():
    capabilities = TorchBackend.capabilities
    assert capabilities.devices[-1] == "cpu"  # what is left where no accelerator runs a kernel
    assert replace(capabilities, compiles=True) == capabilities


# ── samples that share a row ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("longest_kept", [512, 4])  # both ways of attending
def test_loss_of_one_sample_has_no_gradient_at_the_inputs_of_another(monkeypatch, longest_kept):
    monkeypatch.setattr(torch_network, "LONGEST_KEPT", longest_kept)
    segments_BT = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3])
    tokens_BT = torch.arange(12).unsqueeze(0)  # each position has an embedding of its own, and so a gradient of its own
    parameters = pack(moved_weights(), SHAPE, "cpu")
    head_VD = parameters["embedding"].clone()
    parameters["embedding"].requires_grad_()
    rotary = Rotary.build(SHAPE, 12, "cpu").at(torch.tensor([[*range(5), *range(4), *range(3)]]))
    bias = segment_bias(causal_bias(12, "cpu"), segments_BT)
    hidden_ND = run_layers(parameters, tokens_BT, rotary, bias, SHAPE, Arithmetic(torch.float32))
    targets_N = torch.where(segments_BT == 1, 3, IGNORED).reshape(-1)
    HeadCrossEntropy.apply(hidden_ND, head_VD, targets_N, 0.0, PLAIN)[0].backward()
    gradient_TD = parameters["embedding"].grad[:12]
    is_own_T = segments_BT[0] == 1
    assert gradient_TD[is_own_T].abs().amin(0).all()
    assert not gradient_TD[~is_own_T].any()


# ── dropout ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("dropout", [0.0001, 0.1, 0.5, 0.9])
def test_the_share_asked_for_is_dropped_and_the_rest_scaled_up(dropout):
    torch.manual_seed(5)
    branch_BTD = torch.ones(1, 1000, 1000)
    kept = drop(branch_BTD, draw_chances(branch_BTD)[0], dropout)
    values = kept.unique().tolist()
    assert values == pytest.approx([0.0, 1 / (1 - dropout)], rel=1e-4)
    share = float((kept == 0).float().mean())
    five_deviations, one_rounding = 5 * (dropout / 1e6) ** 0.5, 1e-5
    assert share == pytest.approx(dropout, abs=five_deviations + one_rounding)
    assert kept.mean() == pytest.approx(1.0, rel=0.02)


def test_dropout_near_one_still_keeps_something():
    branch = torch.ones(2)
    chances = torch.tensor([-32_768, 32_767], dtype=torch.int16)
    assert drop(branch, chances, 0.9999999).tolist() == [0.0, 65_536.0]


def test_without_chances_nothing_is_dropped():
    branch = random(3, 4)
    assert drop(branch, None, 0.5) is branch


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 5), (4, 8, 16)])  # 2, 60 and 1,024 chances: also not four at a time
def test_chances_are_uniform_new_each_time_and_a_function_of_the_seed(size):
    torch.manual_seed(1)
    first, second = draw_chances(torch.empty(size)), draw_chances(torch.empty(size))
    assert first.shape == (2, *size)
    assert first.dtype == torch.int16
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(draw_chances(torch.empty(size)), first)


def test_every_one_of_the_four_chances_of_a_draw_has_every_bit():
    torch.manual_seed(2)
    chances = draw_chances(torch.empty(1, 1, 40_000)).reshape(-1, 4)
    for bit in range(16):
        share_4 = ((chances >> bit) & 1).float().mean(0)
        assert torch.allclose(share_4, torch.full((4,), 0.5), atol=0.02)


@pytest.mark.parametrize(("speed", "size"), [(2e9, 256), (2e11, 1024)], ids=["emulated", "native"])
def test_a_dtype_that_a_processor_has_no_instructions_for_is_found_out_with_a_small_product(monkeypatch, speed, size):
    sizes = []
    monkeypatch.setattr("trainwright.backends.torch._time_product", lambda side, _: sizes.append(side) or speed)
    compute = Compute(framework="torch", device="cpu", dtype="bfloat16", compile=False, num_threads=1)
    assert TorchBackend().measure_peak(compute) == speed
    assert sizes[-1] == size
