"""Tiny Gemma 3 and Qwen3 folders as transformers writes them: Tunix's models give its losses, gradients, updates and logits."""

import importlib.util
import json

import numpy as np
import pytest

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import IGNORED, Batch, Rates
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_training
from trainwright.core.records import Compute
from trainwright.pipeline.imported import build_adapter_weights, import_origin, locate_base
from trainwright.store.workspace import open_workspace

LACKING = [name for name in ("torch", "transformers", "peft", "tunix") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.extra,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
    pytest.mark.filterwarnings("ignore"),  # other people's deprecations are not ours to fail on
]

VOCAB = 61
GEMMA = {
    "query_pre_attn_scalar": 8,
    "sliding_window": 5,
    "layer_types": ["sliding_attention", "full_attention"],
}
ADAPTER = ("train.adapter.rank=3", "train.adapter.alpha=9", "train.adapter.target_modules=[q_proj, v_proj, down_proj]")


def write_folder(path, family):
    import tokenizers
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    config = AutoConfig.for_model(
        family, vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, bos_token_id=None, pad_token_id=None,
        eos_token_id=1, initializer_range=0.3, **(GEMMA if family == "gemma3_text" else {}),
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    letters = {chr(97 + number): number for number in range(26)} | {"<eos>": 26}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="a")).save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>"}))
    return path


def packed_batch(seed):
    ids = np.random.default_rng(seed).integers(0, VOCAB, (2, 15)).astype(np.int32)
    segments = np.repeat([[0] * 5 + [1] * 6 + [2] * 3], 2, axis=0).astype(np.int32)
    return Batch(ids[:, :-1].copy(), np.where(segments == 2, IGNORED, ids[:, 1:]).astype(np.int32), segments)


def plain_batch(seed):
    ids = np.random.default_rng(seed).integers(0, VOCAB, (2, 15)).astype(np.int32)
    return Batch(ids[:, :-1].copy(), ids[:, 1:].copy())


@pytest.mark.parametrize(
    ("family", "overrides"),
    [("gemma3_text", ()), ("gemma3_text", ADAPTER), ("qwen3", ADAPTER)],
    ids=["gemma3", "gemma3-adapter", "qwen3-adapter"],
)
def test_tunix_trains_scores_and_writes_as_transformers_does(family, overrides, tmp_path):
    folder = write_folder(tmp_path / "model", family)
    asked = [f"train.start={folder}", "train.optimizer.name=adamw", "train.steps=9", "train.batch_size=2"]
    manifest = parse_manifest(None, [*asked, "train.max_seq_length=32", *overrides, "compute.framework=tunix"])
    with open_workspace(tmp_path / "workspace") as workspace:
        shape = import_origin(manifest, workspace).shape
        weights = locate_base(shape, workspace).read()
    if shape.adapter is not None:
        weights |= build_adapter_weights(weights, shape.adapter, 7)
    training = resolve_training(manifest.train, 10, 9, is_new=False)
    trainers = [
        open_backend(framework).open_trainer(
            shape,
            weights,
            Compute(framework=framework, device="cpu", dtype="float32", compile=False, num_threads=1),
            training,
        )
        for framework in ("tunix", "transformers")
    ]
    for step in range(5):
        batches = [plain_batch(step), packed_batch(step)]
        found, expected = (trainer.compute_gradients(batches, step) for trainer in trainers)
        assert (found.num_targets, found.num_correct) == (expected.num_targets, expected.num_correct)
        assert found.loss == pytest.approx(expected.loss, abs=1e-5)
        assert found.norm == pytest.approx(expected.norm, rel=1e-4)
        for trainer in trainers:
            trainer.apply_update(Rates(0.01, 0.0))
    state, like = (trainer.read_state() for trainer in trainers)
    assert state.weights.keys() == like.weights.keys()
    assert state.optimizer.keys() == like.optimizer.keys()
    for name, array in state.weights.items():
        np.testing.assert_allclose(array, like.weights[name], atol=1e-4, err_msg=name)
    decoders = [trainer.open_decoder() for trainer in trainers]
    for piece in ([3, 1, 4, 1, 5, 9, 2, 6], [5], [3], [5, 8, 9], [7]):  # past the window of five
        found, expected = (decoder.feed(piece) for decoder in decoders)
        np.testing.assert_allclose(found, expected, atol=1e-4)
