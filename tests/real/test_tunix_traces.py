"""Real traces, taught to a tiny random Gemma 3 of Tunix's through the command line: the loss falls, the report is there."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRACES = Path(os.environ.get("TRAINWRIGHT_DATA", "")) / "tunix_traces" / "dev-reasoning-v2.jsonl"
LACKING = [name for name in ("torch", "transformers", "tunix") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.extra,
    pytest.mark.timeout(3000),
    pytest.mark.skipif("TRAINWRIGHT_DATA" not in os.environ, reason="TRAINWRIGHT_DATA names no folder of real data"),
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
]
MANIFEST = """
name: gemma3-traces
train:
  start: tiny-gemma3
  steps: 50
  batch_size: 8
  max_seq_length: 256
  validate_every: 25
  checkpoint_every: 25
  sample_tokens: 8
  optimizer: {learning_rate: 0.01}
compute: {framework: tunix}
evaluate: {items: 4, max_tokens: 16}
"""


def write_model(path):
    import tokenizers
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "gemma3_text", vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16, sliding_window=128,
        layer_types=["sliding_attention", "full_attention"], max_position_embeddings=1024, bos_token_id=None,
        eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    rows = [json.loads(line) for line in TRACES.read_text(encoding="utf-8").splitlines()]
    made.train_from_iterator([row["prompt"] + "\n" + row["final_answer"] for row in rows], trainer)
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))


def test_fifty_steps_on_real_traces_lower_the_loss_and_what_changed_is_reported(tmp_path):
    write_model(tmp_path / "tiny-gemma3")
    (tmp_path / "sft.yaml").write_text(MANIFEST)
    words = ("run", "sft.yaml", f"data.traces={TRACES}", "--json")
    finished = subprocess.run(
        [sys.executable, "-m", "trainwright", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    events = [json.loads(line) for line in (Path(document["run_dir"]) / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["kind"] == "step"]
    assert len(losses) == 50
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 2
    assert document["comparison"]["num_items"] == 4
    assert Path(document["artefacts"]["delta.html"]).is_file()
