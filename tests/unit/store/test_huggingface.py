import json

import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models

from trainwright.core.errors import OutputExists, TokenizerMismatch, TokenizerMissing, TokenizerUnreadable
from trainwright.core.records import ModelShape, SpecialTokens
from trainwright.store.huggingface import write_huggingface_folder

SHAPE = ModelShape(
    vocab_size=6, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=12
)
TOKENS = SpecialTokens(pad=0, unknown=1, begin=2, end=3)
PIECES = ["<pad>", "<unk>", "<s>", "</s>", "a", "ä"]


def unigram() -> bytes:
    return FastTokenizer(models.Unigram([(piece, 0.0) for piece in PIECES], unk_id=1)).to_str().encode()


def byte_pairs() -> bytes:
    return FastTokenizer(models.BPE({piece: token for token, piece in enumerate(PIECES)}, [])).to_str().encode()


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    return {
        "model.norm.weight": generator.standard_normal(8, dtype=np.float32),
        "model.embed_tokens.weight": generator.standard_normal((6, 8), dtype=np.float32),
    }


def write(folder, weights, **changes):
    given = {"tokenizer_files": {"tokenizer.json": unigram()}, "special_tokens": TOKENS} | changes
    return write_huggingface_folder(folder, shape=SHAPE, weights=weights, max_seq_length=128, **given)


def test_the_folder_holds_model_tokenizer_and_configuration(tmp_path, weights) -> None:
    files = {"tokenizer.json": unigram(), "tokenizer.model": b"\x00model"}
    written = write(tmp_path / "out", weights, tokenizer_files=files)
    assert [path.name for path in written] == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in written]
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == b"\x00model"
    loaded = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_configuration_says_what_the_decoder_is(tmp_path, weights) -> None:
    write(tmp_path / "out", weights)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == SHAPE.rope_theta
    assert config["rms_norm_eps"] == SHAPE.norm_epsilon
    expected = {
        "model_type": "qwen3",
        "vocab_size": 6,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "intermediate_size": 12,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "use_sliding_window": False,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    assert {key: config[key] for key in expected} == expected
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


@pytest.mark.parametrize("tokenizer", [unigram, byte_pairs])
def test_special_tokens_are_named_by_the_text_they_have(tmp_path, weights, tokenizer) -> None:
    write(tmp_path / "out", weights, tokenizer_files={"tokenizer.json": tokenizer()})
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    texts = {key: value for key, value in config.items() if key.endswith("_token")}
    assert texts == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_special_tokens_that_are_not_there_are_not_invented(tmp_path, weights) -> None:
    tokens = SpecialTokens(pad=None, unknown=None, begin=None, end=3)
    write(tmp_path / "out", weights, special_tokens=tokens)
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert [key for key in config if key.endswith("_token")] == ["eos_token"]
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {"eos_token_id": 3}


def test_an_added_token_counts_as_a_piece(tmp_path, weights) -> None:
    document = json.loads(unigram())
    document["model"]["vocab"].pop()
    document["added_tokens"] = [{"id": 5, "content": "<end_of_turn>", "special": True}]
    tokens = SpecialTokens(pad=0, unknown=1, begin=2, end=5)
    files = {"tokenizer.json": json.dumps(document).encode()}
    write(tmp_path / "out", weights, tokenizer_files=files, special_tokens=tokens)
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<end_of_turn>"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tokenizer_files": {"tokenizer.model": b""}}, TokenizerMissing),
        ({"tokenizer_files": {"tokenizer.json": b"{"}}, TokenizerUnreadable),
        ({"tokenizer_files": {"tokenizer.json": b"\xff"}}, TokenizerUnreadable),
        ({"tokenizer_files": {"tokenizer.json": b"[]"}}, TokenizerUnreadable),
        ({"tokenizer_files": {"tokenizer.json": b'{"model": {"vocab": 3}}'}}, TokenizerUnreadable),
        ({"tokenizer_files": {"tokenizer.json": b'{"model": {"vocab": []}}'}}, TokenizerUnreadable),
        ({"tokenizer_files": {"tokenizer.json": b'{"model": {"vocab": {"a": 6}}}'}}, TokenizerMismatch),
        ({"special_tokens": SpecialTokens(pad=None, unknown=None, begin=None, end=9)}, TokenizerMismatch),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, weights, changes, error) -> None:
    with pytest.raises(error):
        write(tmp_path / "out", weights, **changes)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_shape_are_refused(tmp_path, weights) -> None:
    with pytest.raises(ValueError, match="embed_tokens"):
        write(tmp_path / "out", weights | {"model.embed_tokens.weight": np.zeros((5, 8), np.float32)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_touched(tmp_path, weights) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", weights)  # an empty one is fine
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "out", tmp_path / "file"):
        with pytest.raises(OutputExists):
            write(target, weights)
    assert (tmp_path / "file").read_text() == "mine"
