"""Model folders of others: what is taken in, what is refused, and that numbers come through unchanged."""

import json

import numpy as np
import pytest
import safetensors.numpy

from trainwright.core.errors import ModelUnreadable, PickledWeights, WeightsMissing
from trainwright.core.records import Adapter
from trainwright.store.model_folder import (
    import_model,
    locate_tensors,
    merge_adapter,
    read_config,
    read_shapes,
    read_tensors,
    render_adapter_files,
    render_model_files,
)
from trainwright.store.objects import MemoryObjects

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4, "torch_dtype": "bfloat16"}
WEIGHTS = {
    "model.embed_tokens.weight": np.arange(8, dtype=np.float32).reshape(4, 2),
    "model.norm.weight": np.array([1.5, -2.0], np.float32),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(safetensors.numpy.save(WEIGHTS))
    return tmp_path


def write_raw(path, tensors):
    """Safetensors by hand: {name: (dtype, shape, bytes)}."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# ── taking in ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_folder_is_taken_in_by_digest(folder):
    objects = MemoryObjects()
    model = import_model(folder, objects, None)
    assert (model.name, model.architecture, model.was_pickled) == (folder.name, "LlamaForCausalLM", False)
    assert read_config(model, objects) == CONFIG
    paths = locate_tensors(model, objects)
    assert read_shapes(paths) == {name: array.shape for name, array in WEIGHTS.items()}
    for name, array in read_tensors(paths).items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
    assert import_model(folder, MemoryObjects(), None).id == model.id


def test_shards_are_those_of_the_index(folder):
    (folder / "model.safetensors").unlink()
    for number, (name, array) in enumerate(WEIGHTS.items()):
        (folder / f"part-{number}.safetensors").write_bytes(safetensors.numpy.save({name: array}))
    index = {"weight_map": {name: f"part-{number}.safetensors" for number, name in enumerate(WEIGHTS)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    objects = MemoryObjects()
    paths = locate_tensors(import_model(folder, objects, None), objects)
    assert read_tensors(paths).keys() == WEIGHTS.keys()
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(WeightsMissing) as error:
        import_model(folder, objects, None)
    assert "part-1.safetensors" in error.value.why


def test_narrow_types_widen_exactly(tmp_path):
    half = np.array([1.0, -0.5, 65504.0], np.float16)
    upper = np.array([0x3F80, 0xC020, 0x7F7F], np.uint16)  # 1, -2.5, the largest bfloat16
    path = tmp_path / "odd.safetensors"
    write_raw(path, {"h": ("F16", [3], half.tobytes()), "b": ("BF16", [3, 1], upper.tobytes())})
    found = read_tensors([path])
    np.testing.assert_array_equal(found["h"], half.astype(np.float32))
    np.testing.assert_array_equal(found["b"][:2, 0], [1.0, -2.5])
    assert found["b"].shape == (3, 1)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert read_tensors([path], ["h"]).keys() == {"b"}


# ── refusing ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing):
        import_model(folder, MemoryObjects(), None)


def test_pickled_weights_are_refused_unless_allowed_and_never_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(PickledWeights) as error:
        import_model(folder, MemoryObjects(), None)
    assert "train.allow_pickle" in error.value.next_step
    objects = MemoryObjects()
    model = import_model(folder, objects, lambda path: WEIGHTS.items())
    assert model.was_pickled
    assert read_tensors(locate_tensors(model, objects)).keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architectures": ["BertModel"]}, "causal"),
        ({"architectures": None}, "causal"),
        ({"auto_map": {"AutoModel": "theirs.Model"}}, "auto_map"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_model_of_another_kind_is_refused(folder, change, named):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(ModelUnreadable) as error:
        import_model(folder, MemoryObjects(), None)
    assert named in error.value.why


@pytest.mark.parametrize("data", [b"", b"not safetensors at all", (10**9).to_bytes(8, "little") + b"{}"])
def test_file_that_is_no_safetensors_is_refused(folder, data):
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelUnreadable):
        import_model(folder, MemoryObjects(), None)


def test_truncated_weights_are_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])
    with pytest.raises(ModelUnreadable, match="cannot be used"):
        import_model(folder, MemoryObjects(), None)


def test_folder_without_a_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnreadable, match="cannot be used"):
        import_model(folder, MemoryObjects(), None)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
ADAPTER = Adapter(rank=2, alpha=6.0, target_modules=("q_proj",))
BASE = {"layer.q_proj.weight": np.ones((3, 2), np.float32), "norm.weight": np.ones(2, np.float32)}
TRAINED = {
    "layer.q_proj.lora_A.weight": np.array([[1.0, 2.0], [0.0, 1.0]], np.float32),
    "layer.q_proj.lora_B.weight": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32),
}


def test_merged_adapter_is_the_product_over_the_rank():
    merged = merge_adapter(BASE, TRAINED, ADAPTER)
    np.testing.assert_allclose(merged["layer.q_proj.weight"], 1 + 3 * np.array([[1, 2], [0, 1], [1, 3]]))
    np.testing.assert_array_equal(merged["norm.weight"], 1)
    np.testing.assert_array_equal(BASE["layer.q_proj.weight"], 1)  # what was given is left alone


def test_written_model_says_that_it_is_float32():
    files = render_model_files(CONFIG, WEIGHTS)
    assert json.loads(files["config.json"])["dtype"] == "float32"
    assert safetensors.numpy.load(files["model.safetensors"]).keys() == WEIGHTS.keys()


def test_written_adapter_has_the_names_that_peft_reads():
    files = render_adapter_files(ADAPTER, TRAINED, "tiny")
    assert json.loads(files["adapter_config.json"])["r"] == 2
    names = set(safetensors.numpy.load(files["adapter_model.safetensors"]))
    assert names == {f"base_model.model.{name}" for name in TRAINED}
