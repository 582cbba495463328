"""Tiny Gemma 3, Qwen3 and Llama folders as `save_pretrained` writes them, through the real code: read, packed, trained whole
and through adapters, resumed, exported, and opened by their own libraries again.
"""

import importlib.util
import json

import numpy as np
import pytest

from trainwright.backends.protocol import IGNORED, Batch, Rates
from trainwright.core.errors import InvalidValue, ModelUnreadable, PickledWeights, WeightsMissing
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_training
from trainwright.core.records import Compute
from trainwright.pipeline.imported import build_adapter_weights, import_origin, locate_base
from trainwright.store.model_folder import merge_adapter, render_adapter_files, render_model_files
from trainwright.store.workspace import open_workspace

LACKING = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
    pytest.mark.filterwarnings("ignore"),  # other people's deprecations are not ours to fail on
]

FAMILIES = ("gemma3_text", "qwen3", "llama")
VOCAB = 61
COMPUTE = Compute(framework="transformers", device="cpu", dtype="float32", compile=False, num_threads=1)
ADAPTER = ("train.adapter.rank=3", "train.adapter.alpha=9")
RATES = Rates(0.01, 0.0)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A random model of one family, with a tokenizer."""
    import tokenizers
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    more = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        request.param,
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        bos_token_id=None,
        pad_token_id=None,
        eos_token_id=1,
        initializer_range=0.3,
        **(more if request.param == "gemma3_text" else {}),
    )
    path = tmp_path_factory.mktemp("models") / request.param
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    letters = {chr(97 + number): number for number in range(26)} | {"<eos>": 26}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="a"))
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>"}))
    return path


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


def take_in(folder, workspace, *overrides):
    """(shape, all weights before the first update, training plan)."""
    asked = [f"train.start={folder}", "train.optimizer.name=adamw", "train.steps=9", *overrides]
    manifest = parse_manifest(None, asked)
    shape = import_origin(manifest, workspace).shape
    weights = locate_base(shape, workspace).read()
    if shape.adapter is not None:
        weights |= build_adapter_weights(weights, shape.adapter, 7)
    return shape, weights, resolve_training(manifest.train, 10, 9, is_new=False)


def open_trainer(taken):
    from trainwright.backends.transformers import TransformersBackend

    shape, weights, training = taken
    return TransformersBackend().open_trainer(shape, weights, COMPUTE, training)


def batch(seed=0, rows=2, length=14):
    ids = np.random.default_rng(seed).integers(0, VOCAB, (rows, length + 1)).astype(np.int32)
    return Batch(ids[:, :-1].copy(), ids[:, 1:].copy())


def packed(rows=2):
    one = batch(rows=rows)
    segments = np.repeat([[0] * 5 + [1] * 6 + [2] * 3], rows, axis=0).astype(np.int32)
    return Batch(one.tokens_BT, np.where(segments == 2, IGNORED, one.targets_BT), segments)


def take_steps(trainer, first, last):
    found = []
    for step in range(first, last):
        found.append(trainer.compute_gradients([batch(step)], step))
        trainer.apply_update(RATES)
    return found


def logits_of(model, tokens_BT):
    import torch

    with torch.no_grad():
        return model(torch.tensor(tokens_BT.astype(np.int64))).logits.float().numpy()


def losses(logits_BTV, batch):
    shifted = logits_BTV - logits_BTV.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, batch.targets_BT[..., None].astype(np.int64), -1)[..., 0]


def test_scores_and_decoder_are_those_of_from_pretrained(folder, workspace):
    from transformers import AutoModelForCausalLM

    trainer, one = open_trainer(take_in(folder, workspace)), batch()
    theirs = logits_of(AutoModelForCausalLM.from_pretrained(folder), one.tokens_BT)
    np.testing.assert_allclose(trainer.score(one).nll_BT, losses(theirs, one), rtol=1e-4, atol=1e-5)
    decoder = trainer.open_decoder()
    tokens = [int(token) for token in one.tokens_BT[0]]
    decoder.feed(tokens[:9])
    np.testing.assert_allclose(decoder.feed(tokens[9:]), theirs[0, -1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adapter", [(), ADAPTER])
def test_samples_that_share_a_row_stay_apart(folder, workspace, adapter):
    taken = take_in(folder, workspace, *adapter)
    row = packed(rows=1)
    parts = [Batch(row.tokens_BT[:, a:b].copy(), row.targets_BT[:, a:b].copy()) for a, b in ((0, 5), (5, 11))]
    together, apart = (open_trainer(taken).compute_gradients(batches, 0) for batches in ([row], parts))
    assert together.num_targets == apart.num_targets == 11
    assert together.nll_sum == pytest.approx(apart.nll_sum, rel=1e-5)
    assert together.norm == pytest.approx(apart.norm, rel=1e-4)
    changed = row.tokens_BT.copy()
    changed[0, :5] = (changed[0, :5] + 1) % VOCAB
    trainer = open_trainer(taken)
    before, after = (
        trainer.score(Batch(tokens, row.targets_BT, row.segments_BT)) for tokens in (row.tokens_BT, changed)
    )
    np.testing.assert_array_equal(before.nll_BT[0, 5:], after.nll_BT[0, 5:])


def test_adapter_begins_as_nothing_and_trains_itself_alone(folder, workspace):
    whole, thin = (open_trainer(take_in(folder, workspace, *more)) for more in ((), ADAPTER))
    np.testing.assert_allclose(thin.score(batch()).nll_BT, whole.score(batch()).nll_BT, rtol=1e-5, atol=1e-6)
    take_steps(thin, 0, 3)
    state = thin.read_state()
    assert all(".lora_" in name for name in state.weights)
    assert len(state.weights) == 2 * 4 * 2  # layers, targets, matrices
    assert all(array.any() for array in state.weights.values())
    assert set(whole.read_state().weights) == set(take_in(folder, workspace)[1])


@pytest.mark.parametrize("adapter", [(), (*ADAPTER, "train.adapter.dropout=0.2")])
def test_resumed_training_goes_on_bit_for_bit(folder, workspace, adapter):
    taken = take_in(folder, workspace, *adapter)
    trainer = open_trainer(taken)
    take_steps(trainer, 0, 2)
    resumed = open_trainer(taken)
    resumed.load_state(trainer.read_state())
    assert take_steps(resumed, 2, 4) == take_steps(trainer, 2, 4)
    for name, array in trainer.read_state().weights.items():
        np.testing.assert_array_equal(resumed.read_state().weights[name], array, err_msg=name)


def test_exported_models_have_the_logits_that_were_trained(folder, workspace, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    taken = take_in(folder, workspace, *ADAPTER)
    shape, weights, _ = taken
    trainer, one = open_trainer(taken), batch()
    take_steps(trainer, 0, 3)
    ours, trained = trainer.score(one).nll_BT, trainer.read_state().weights
    base = {name: array for name, array in weights.items() if ".lora_" not in name}
    merged = render_model_files(shape.config, merge_adapter(base, trained, shape.adapter))
    alone = render_adapter_files(shape.adapter, trained, folder.name)
    for name, files in (("merged", merged), ("adapter", alone)):
        (tmp_path / name).mkdir()
        for file, data in files.items():
            (tmp_path / name / file).write_bytes(data)
    merged_model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(losses(logits_of(merged_model, one.tokens_BT), one), ours, rtol=1e-3, atol=1e-4)
    with_adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    np.testing.assert_allclose(losses(logits_of(with_adapter, one.tokens_BT), one), ours, rtol=1e-3, atol=1e-4)


def test_weight_that_is_missing_is_named(folder, workspace, tmp_path):
    import shutil

    import safetensors.numpy

    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "model.safetensors"
    tensors = safetensors.numpy.load(path.read_bytes())
    gone = "model.layers.1.mlp.down_proj.weight"
    path.write_bytes(safetensors.numpy.save({name: array for name, array in tensors.items() if name != gone}))
    with pytest.raises(WeightsMissing) as error:
        take_in(copy, workspace)
    assert gone in error.value.why


def test_adapter_that_fits_nothing_is_refused(folder, workspace):
    with pytest.raises(InvalidValue, match="c_attn"):
        take_in(folder, workspace, "train.adapter.rank=2", "train.adapter.target_modules=[c_attn]")


def test_pickled_weights_are_read_where_they_are_allowed_and_nothing_else_is_run(folder, workspace, tmp_path):
    import pickle
    import shutil

    import torch
    from transformers import AutoModelForCausalLM

    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    torch.save(AutoModelForCausalLM.from_pretrained(folder).state_dict(), copy / "pytorch_model.bin")
    with pytest.raises(PickledWeights):
        take_in(copy, workspace)
    found, expected = take_in(copy, workspace, "train.allow_pickle=true")[1], take_in(folder, workspace)[1]
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("it ran",))

    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelUnreadable):
        take_in(copy, workspace, "train.allow_pickle=true")
    assert not (tmp_path / "sprung").exists()
