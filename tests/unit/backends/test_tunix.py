"""What is Tunix's alone; what every backend must do is in the contract suite."""

import importlib.util

import pytest

if importlib.util.find_spec("tunix") is None:
    pytest.skip("tunix is not installed: pip install 'trainwright[tunix]'", allow_module_level=True)

from trainwright.backends.tunix import TunixBackend, describe_weights, find_device, set_up
from trainwright.backends.tunix_library import Network, require_version
from trainwright.core.errors import PackageMissing, UnsupportedPlan
from trainwright.core.records import Adapter, Compute, ImportedShape

pytestmark = pytest.mark.extra

GEMMA = {
    "model_type": "gemma3_text", "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5,
    "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
}  # fmt: skip
QWEN = {
    "model_type": "qwen3", "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}  # fmt: skip


def shape_of(config, adapter=None):
    return ImportedShape(base="0" * 64, config=config, vocab_size=61, num_parameters=1, adapter=adapter)


@pytest.mark.parametrize("version", ["0.1.7", "0.1.8.dev3", "0.1.12"])
def test_versions_that_are_known_pass(version):
    require_version(version)


@pytest.mark.parametrize("version", ["0.1.6", "0.0.9", "0.2.0", "1.0"])
def test_other_versions_are_refused_with_the_command_that_brings_a_known_one(version):
    with pytest.raises(PackageMissing, match=f"Tunix {version} is installed") as raised:
        require_version(version)
    assert raised.value.next_step == "pip install 'trainwright[tunix]'"


@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"compile": True}])
def test_what_it_cannot_do_is_refused(change):
    plain = Compute(framework="tunix", device="cpu", dtype="float32", compile=False, num_threads=1)
    with pytest.raises(UnsupportedPlan, match="tunix backend cannot run"):
        set_up(plain.model_copy(update=change))


def test_device_that_is_not_there_is_told_by_number():
    assert find_device("cpu").platform == "cpu"
    probe = TunixBackend().probe("cpu:99")
    assert not probe.works
    assert "devices of the kind cpu" in probe.problem


@pytest.mark.parametrize(
    ("config", "change", "said"),
    [
        (GEMMA, {"model_type": "gemma2"}, "model_type gemma2"),
        (GEMMA, {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0"),
        (GEMMA, {"query_pre_attn_scalar": 256}, "query_pre_attn_scalar 256"),
        (GEMMA, {"rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05"),
        (GEMMA, {"tie_word_embeddings": False}, "tie_word_embeddings False"),
        (GEMMA, {"rope_scaling": {"rope_type": "yarn"}}, "rope_type yarn"),
        (QWEN, {"attention_bias": True}, "attention_bias True"),
        (QWEN, {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaled rotary"),
    ],
)
def test_configuration_that_tunix_cannot_have_is_refused_by_its_key(config, change, said):
    with pytest.raises(UnsupportedPlan, match=said) as raised:
        describe_weights(shape_of(config | change))
    assert raised.value.why
    assert raised.value.next_step == "Set compute.framework=transformers."


def test_configuration_that_lacks_something_says_what():
    with pytest.raises(ValueError, match="does not give head_dim"):
        describe_weights(shape_of({key: value for key, value in GEMMA.items() if key != "head_dim"}))


def test_dropout_before_an_adapter_is_refused():
    adapter = Adapter(rank=2, alpha=4, target_modules=("q_proj",), dropout=0.1)
    with pytest.raises(UnsupportedPlan, match="dropout before an adapter"):
        describe_weights(shape_of(GEMMA, adapter))


def test_every_sixth_layer_of_a_gemma_sees_all_where_the_configuration_lists_none():
    network = Network(shape_of(GEMMA))
    module = network.fill(dict.fromkeys(network.places, 0))
    assert [layer.attn.attn_type.name for layer in module.layers] == ["LOCAL_SLIDING"] * 5 + [
        "GLOBAL",
        "LOCAL_SLIDING",
    ]
    assert {layer.attn.rope_scale_factor for layer in module.layers} == {1.0, 8.0}


@pytest.mark.parametrize("config", [GEMMA, QWEN], ids=["gemma3", "qwen3"])
def test_each_linear_map_has_an_adapter_of_its_own(config):
    names = ("k_proj", "v_proj", "down_proj")
    network = Network(shape_of(config, Adapter(rank=2, alpha=4, target_modules=names)))
    added = [name for name in network.places if ".lora_" in name]
    assert len(added) == len(set(added)) == 2 * len(names) * config["num_hidden_layers"]
    assert network.places["model.layers.0.self_attn.v_proj.lora_A.weight"].size == (2, 24)
    assert network.shapes["model.layers.0.mlp.down_proj.lora_B.weight"] == (2, 24)


def test_untied_head_is_a_weight_and_a_tied_one_may_be_left_out():
    assert "lm_head.weight" in describe_weights(shape_of(QWEN))[0]
    sizes, tied = describe_weights(shape_of(QWEN | {"tie_word_embeddings": True}))
    assert "lm_head.weight" not in sizes
    assert tied == {"lm_head.weight"}
