"""The promises that matter most, once more on Tunix: same plan, same weights; killed and resumed, the same weights; and traces
learnt by its Gemma 3, whole and through an adapter.
"""

import importlib.util
import json
import signal
from pathlib import Path

import pytest

# Every process imports for seconds and traces its programs anew; what they compile to is kept.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.extra,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(importlib.util.find_spec("tunix") is None, reason="tunix is not installed"),
]
PATIENT = {"timeout": 1500, "torch": True}  # torch and tunix are hidden otherwise

SETTINGS = (
    "name=tuned",
    "data.traces=traces.jsonl",
    "train.start=tiny",
    "train.steps=12",
    "train.batch_size=4",
    "train.max_seq_length=128",
    "train.validate_every=6",
    "train.checkpoint_every=3",
    "train.sample_tokens=3",
    "train.optimizer.learning_rate=0.02",
    "compute.framework=tunix",
    "compute.threads=1",
    "evaluate.items=2",
    "evaluate.max_tokens=4",
)


def test_tunix_gives_the_same_weights_killed_or_not_and_the_losses_of_the_reference(
    command, finished, corpus, at_instant
):
    more = "budgets.inference_rss_mb=null"  # JAX and Tunix alone need more than the presets allow
    words = ["run", "--framework=tunix", f"--corpus={corpus}", *command.small, more, "--json"]
    whole = command(*words, **PATIENT).document
    (folder,) = command.run_folders()
    events = command.read_events(folder)

    at_step_7 = at_instant("KILL", 1, '"kind":"step","step":7,')
    again = command(*words, "--retrain", expect=-signal.SIGKILL, instant=at_step_7, **PATIENT)
    assert again.out == ""
    digest, _ = command.train_to_the_end("resume", "--json", **PATIENT)
    assert digest == whole["weights_digest"]
    (other,) = [path for path in command.run_folders() if path != folder]
    steps, resumed = (
        [event for event in told if event["kind"] == "step"] for told in (events, command.read_events(other))
    )
    assert resumed == steps

    reference = [event for event in finished.command.events() if event["kind"] == "step"]
    assert [event["learning_rate"] for event in steps] == [event["learning_rate"] for event in reference]
    assert [event["loss"] for event in steps] == pytest.approx([event["loss"] for event in reference], abs=1e-3)


def test_tunix_goes_on_with_what_the_reference_wrote_and_that_is_on_record(finished_copy, finished):
    parent = finished.document["run_id"][:12]
    words = ("train", "--from", f"{parent}@8", "compute.framework=tunix", "--allow-drift", "framework", "--json")
    _, said = finished_copy.train_to_the_end(*words, **PATIENT)
    assert "framework was reference and is tunix, which can change results" in said
    (folder,) = [path for path in finished_copy.run_folders() if not path.name.endswith(parent)]
    losses = [event["loss"] for event in finished_copy.read_events(folder) if event["kind"] == "step"]
    reference = [event["loss"] for event in finished.events_of_training if event["kind"] == "step"]
    assert losses == pytest.approx(reference[8:], abs=1e-3)


@pytest.fixture(scope="module")
def base(finished, tmp_path_factory):
    """A folder with a tiny Gemma 3 as transformers writes it, its tokenizer, and traces."""
    tokenizers = pytest.importorskip("tokenizers")
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("gemma")
    rows = [
        {"trace_version": "1", "prompt": f"What is {n} + 1?", "final_answer": str(n + 1),
         "steps": [{"i": 0, "type": "sum", "content": f"{n} + 1 = {n + 1}."}], "meta": None}
        for n in range(24)
    ]  # fmt: skip
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "gemma3_text", vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, sliding_window=16,
        layer_types=["sliding_attention", "full_attention"], max_position_embeddings=256, bos_token_id=None,
        eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "tiny")
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=letters)
    made.train_from_iterator([row["prompt"] + row["steps"][0]["content"] for row in rows], trainer)
    made.save(str(folder / "tiny" / "tokenizer.json"))
    (folder / "tiny" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    return type(finished.command)(folder)


def losses_of(command, document):
    events = command.read_events(Path(document["run_dir"]))
    return [event["loss"] for event in events if event["kind"] == "step"]


def test_gemma_learns_traces_whole_and_opens_in_transformers_again(base):
    document = base("run", *SETTINGS, "--json", **PATIENT).document
    plan = json.loads((Path(document["run_dir"]) / "plan.json").read_bytes())
    assert (plan["compute"]["framework"], plan["training"]["packing"]) == ("tunix", "samples")
    losses = losses_of(base, document)
    assert losses[-1] < losses[0] - 0.5
    assert document["comparison"]["num_items"] == 2
    assert "tiny → tuned" in Path(document["artefacts"]["delta.md"]).read_text(encoding="utf-8")

    base("export", "tuned@latest", "whole", "--json", **PATIENT)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base.folder / "whole")


def test_adapter_of_gemma_learns_traces_and_ends_the_same_after_a_kill(base, at_instant):
    import safetensors.numpy

    words = ("run", *SETTINGS, "name=adapted", "train.adapter.rank=2", "--json")
    killed = at_instant("KILL", 1, '"kind":"step","step":8,')
    base(*words, expect=-signal.SIGKILL, instant=killed, **PATIENT)
    document = base("resume", "--json", **PATIENT).document
    losses = losses_of(base, document)
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    weights = safetensors.numpy.load(Path(document["artefacts"]["model.safetensors"]).read_bytes())
    assert weights
    assert all(".lora_" in name for name in weights)
    whole = base(*words, "--retrain", **PATIENT).document
    assert whole["weights_digest"] == document["weights_digest"]
    assert losses_of(base, whole) == losses


@pytest.mark.parametrize(
    ("setting", "said", "able"),
    [
        ("compute.dtype=bfloat16", "cannot train in bfloat16", "can: transformers."),
        ("compute.compile=true", "compiled", "can: none."),
        ("train.optimizer.name=muon", "Muon cannot train a model in the Hugging Face format", "AdamW alone"),
        ("train.adapter.dropout=0.1", "dropout before an adapter", ""),
    ],
)
def test_what_tunix_cannot_do_is_refused_before_anything_is_trained(base, setting, said, able):
    before = base.run_folders()
    error = base("run", *SETTINGS, "train.adapter.rank=2", setting, "--json", expect=4, **PATIENT).error
    assert error["name"] == "unsupported-plan"
    assert said in error["message"]
    assert able in error["why"]
    assert base.run_folders() == before
