"""A model in the Hugging Face format, through the command line: an adapter trained, killed, resumed, verified, exported."""

import importlib.util
import json
import shutil
import signal
from pathlib import Path

import pytest

LACKING = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
    pytest.mark.filterwarnings("ignore"),  # other people's deprecations are not ours to fail on
]

SETTINGS = (
    "name=tuned",
    "data.traces=traces.jsonl",
    "train.adapter.rank=2",
    "train.steps=4",
    "train.batch_size=4",
    "train.max_seq_length=128",
    "train.validate_every=2",
    "train.checkpoint_every=1",
    "train.sample_tokens=3",
    "train.optimizer.learning_rate=0.02",
    "compute.threads=1",
    "evaluate.items=2",
    "evaluate.max_tokens=4",
)


@pytest.fixture(scope="module")
def base(finished, tmp_path_factory):
    """A folder with a tiny Llama, its tokenizer, and traces."""
    import tokenizers
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("imported")
    rows = [
        {"trace_version": "1", "prompt": f"What is {n} + 1?", "final_answer": str(n + 1),
         "steps": [{"i": 0, "type": "sum", "content": f"{n} + 1 = {n + 1}."}], "meta": None}
        for n in range(24)
    ]  # fmt: skip
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "llama", vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=256, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "tiny")
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=260, special_tokens=special, initial_alphabet=letters)
    made.train_from_iterator(["plain text"], trainer)
    made.save(str(folder / "tiny" / "tokenizer.json"))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    described = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": template}
    (folder / "tiny" / "tokenizer_config.json").write_text(json.dumps(described))
    return type(finished.command)(folder)


@pytest.fixture(scope="module")
def tuned(base):
    return base, base("run", *SETTINGS, "train.start=tiny", "--json", torch=True).document


def test_adapter_is_all_that_a_checkpoint_holds_and_its_base_is_in_the_lineage(tuned):
    command, document = tuned
    import safetensors.numpy

    weights = safetensors.numpy.load(Path(document["artefacts"]["model.safetensors"]).read_bytes())
    assert weights
    assert all(".lora_" in name for name in weights)
    plan = json.loads((Path(document["run_dir"]) / "plan.json").read_bytes())
    assert (plan["compute"]["framework"], plan["training"]["optimizer"]["name"]) == ("transformers", "adamw")
    lineage = command("lineage", "tuned@latest", "--check", "--json").document
    assert lineage["findings"] == []
    assert (
        next(edge["parent"] for edge in lineage["edges"] if edge["role"] == "imported_model") == plan["model"]["base"]
    )


def test_model_is_asked_before_it_is_trained_and_after(tuned):
    _, document = tuned
    assert document["comparison"]["num_items"] == 2
    assert "tiny → tuned" in Path(document["artefacts"]["delta.md"]).read_text(encoding="utf-8")


def test_computed_again_it_is_the_same_and_killed_and_resumed_too(tuned, at_instant, tmp_path):
    command, document = tuned
    assert command("verify", "tuned@latest", "--json", torch=True).document["status"] == "verified"
    shutil.copytree(command.folder, tmp_path / "copy")
    again = type(command)(tmp_path / "copy")
    shutil.rmtree(again.workspace)
    instant = at_instant("KILL", 1, '"kind":"step","step":3,')
    again("run", *SETTINGS, "train.start=tiny", "--json", expect=-signal.SIGKILL, instant=instant, torch=True)
    shutil.rmtree(again.folder / "tiny")  # the workspace holds what the run needs
    resumed = again("resume", "--json", torch=True).document
    assert resumed["weights_digest"] == document["weights_digest"]


def test_model_and_adapter_leave_for_their_own_libraries(tuned):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command, _ = tuned
    folder = command.folder
    command("export", "tuned@latest", "merged", "--json", torch=True)
    command("export", "tuned@latest", "adapter", "--adapter", "--json", torch=True)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "tiny"), folder / "adapter")
    ids = AutoTokenizer.from_pretrained(folder / "merged")("What is 2 + 2?", return_tensors="pt").input_ids
    assert (merged(ids).logits - adapted(ids).logits).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("damage", "setting", "code", "name"),
    [
        ("unlink", "train.adapter.rank=2", 4, "weights-missing"),
        ("pickle", "train.adapter.rank=2", 4, "pickled-weights"),
        ("", "compute.framework=reference", 4, "unsupported-plan"),
        ("", "compute.framework=tinygrad", 4, "unsupported-plan"),
        ("", "train.adapter.target_modules=[c_attn]", 64, "invalid-value"),
        ("", "train.optimizer.name=muon", 4, "unsupported-plan"),
    ],
)
def test_folder_that_cannot_be_used_is_an_error_by_name(base, tmp_path, damage, setting, code, name):
    shutil.copytree(base.folder / "tiny", tmp_path / "tiny")
    if damage:
        (tmp_path / "tiny" / "model.safetensors").unlink()
    if damage == "pickle":
        (tmp_path / "tiny" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    words = ("run", *SETTINGS, f"train.start={tmp_path / 'tiny'}", setting, "--json")
    error = base(*words, expect=code, torch=True).error
    assert error["name"] == name
    if name == "unsupported-plan":  # whatever cannot do it, those that can are named
        assert "transformers and tunix" in error["why"]


def test_folder_is_evaluated_as_it_came_as_text_or_in_its_chat_template(tuned):
    command, document = tuned
    words = ("evaluate", "tiny", "--suite=arithmetic", "--limit=2", "--max-tokens=2", "--json")
    plain = command(*words, torch=True).document
    plan = json.loads((Path(document["run_dir"]) / "plan.json").read_bytes())
    assert (plain["imported_model"], plain["checkpoint"]) == (plan["model"]["base"], None)
    assert (plain["compute"]["framework"], plain["num_items"]) == ("transformers", 2)
    assert plain["settings"]["template"] == "Question: {prompt}\nAnswer:"
    chat = command(*words, "--chat", torch=True).document
    assert chat["settings"]["template"].startswith("<|im_start|>user\nQuestion: {prompt}\nAnswer:<|im_end|>")
    text = command("evaluate", "tiny", "--suite=language-modelling", "--limit=2", "--json", torch=True).document
    assert text["settings"]["window"] == 256
    assert text["estimates"]["bits_per_byte"]["value"] > 0
    assert (
        command("evaluate", "tuned@latest", "--chat", *words[2:], expect=64, torch=True).error["name"]
        == "invalid-value"
    )
