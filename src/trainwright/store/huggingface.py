"""Writing a trained model as a Hugging Face folder: `AutoModelForCausalLM` and `AutoTokenizer` open it.

The decoder is a Qwen3 by shape and weight names, so nothing is renamed or permuted; the head is the tied embedding and
is not written a second time.
"""

import json
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_folder
from trainwright.core.errors import OutputExists, TokenizerMismatch, TokenizerMissing, TokenizerUnreadable
from trainwright.core.records import ModelShape, SpecialTokens
from trainwright.core.state import Weights
from trainwright.store.checkpoints import MODEL_FILE, render_tensors

EMBEDDING = "model.embed_tokens.weight"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"


def write_huggingface_folder(
    folder: Path,
    *,
    shape: ModelShape,
    weights: Weights,
    tokenizer_files: dict[str, bytes],
    special_tokens: SpecialTokens,
    max_seq_length: int,
) -> list[Path]:
    """Write model, tokenizer and their configuration to `folder`, whole; return the files' paths, by name.

    `tokenizer_files` holds `tokenizer.json` (and `tokenizer.model` and a chat template, where there are any) as bytes.
    Raises OutputExists, TokenizerMissing (no tokenizer.json), TokenizerUnreadable, TokenizerMismatch (a special token that
    it lacks, or a vocabulary larger than the model's), DiskFull, NotWritable.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExists(
            f"{folder} is there already and is not empty.",
            why="A model is written to a folder of its own, and nothing is overwritten.",
            next_step="Choose another folder, or remove this one.",
        )
    if EMBEDDING not in weights or weights[EMBEDDING].shape != (shape.vocab_size, shape.hidden_size):
        raise ValueError(f"the weights hold no {EMBEDDING} of shape ({shape.vocab_size}, {shape.hidden_size})")
    pieces = _read_pieces(tokenizer_files)
    if max(pieces) >= shape.vocab_size:
        raise TokenizerMismatch(
            f"The tokenizer has ids up to {max(pieces)}; the model knows {shape.vocab_size}.",
            why="This is not the tokenizer that the model was trained with.",
            next_step="Export with the tokenizer that the run names.",
        )
    documents = {
        "config.json": build_model_config(shape, special_tokens, max_seq_length),
        "generation_config.json": _drop_none(_special_ids(special_tokens)),
        CONFIG_FILE: build_tokenizer_config(special_tokens, pieces, max_seq_length),
    }
    if TEMPLATE_FILE in tokenizer_files:
        documents[CONFIG_FILE]["chat_template"] = tokenizer_files[TEMPLATE_FILE].decode("utf-8")
    files = {name: _render_json(document) for name, document in documents.items()}
    files |= {MODEL_FILE: render_tensors(weights)} | tokenizer_files
    with write_folder(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
    return [folder / name for name in sorted(files)]


def build_model_config(shape: ModelShape, special_tokens: SpecialTokens, max_seq_length: int) -> dict[str, Any]:
    """What `config.json` holds for this decoder.

    The rotary base and the dtype are given twice: transformers 4 reads `rope_theta` and `torch_dtype`, transformers 5
    reads `rope_parameters` and `dtype`.
    """
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "max_position_embeddings": max_seq_length,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "use_cache": True,
        "torch_dtype": "float32",
        "dtype": "float32",
        **_special_ids(special_tokens),
    }


def build_tokenizer_config(
    special_tokens: SpecialTokens, pieces: dict[int, str], max_seq_length: int
) -> dict[str, Any]:
    """What `tokenizer_config.json` holds. `pieces` is id → text. Raises TokenizerMismatch for an id without text."""
    names = {
        "bos_token": special_tokens.begin,
        "eos_token": special_tokens.end,
        "pad_token": special_tokens.pad,
        "unk_token": special_tokens.unknown,
    }
    texts = {name: _read_piece(pieces, token) for name, token in names.items() if token is not None}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_seq_length,
        "clean_up_tokenization_spaces": False,  # decoding gives back the text that was encoded
        **texts,
    }


def replace_chat_template(tokenizer_files: dict[str, bytes], template: str) -> dict[str, bytes]:
    """The files of a tokenizer with that chat template in place of any other: in a file of its own, where programs look
    first, and in `tokenizer_config.json`, where there is one.
    """
    files = dict(tokenizer_files)
    files[TEMPLATE_FILE] = template.encode("utf-8")
    if CONFIG_FILE in files:
        files[CONFIG_FILE] = _render_json(json.loads(files[CONFIG_FILE]) | {"chat_template": template})
    return files


def _special_ids(special_tokens: SpecialTokens) -> dict[str, int | None]:
    return {
        "bos_token_id": special_tokens.begin,
        "eos_token_id": special_tokens.end,
        "pad_token_id": special_tokens.pad,
    }


def _read_pieces(tokenizer_files: dict[str, bytes]) -> dict[int, str]:
    """id → text of every piece in tokenizer.json: a list of [piece, score] (unigram) or a map (BPE, word piece)."""
    if TOKENIZER_FILE not in tokenizer_files:
        raise TokenizerMissing(
            f"The tokenizer has no {TOKENIZER_FILE}.",
            why="Without it no Hugging Face program can read text as this model does.",
            next_step="Export a run whose tokenizer has one.",
        )
    try:
        document = json.loads(tokenizer_files[TOKENIZER_FILE])
        vocabulary = document["model"]["vocab"]
        if isinstance(vocabulary, list):
            pieces = {token: str(piece) for token, (piece, _) in enumerate(vocabulary)}
        else:
            pieces = {int(token): str(piece) for piece, token in vocabulary.items()}
        pieces |= {int(added["id"]): str(added["content"]) for added in document.get("added_tokens") or ()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TokenizerUnreadable(
            f"{TOKENIZER_FILE} is not a tokenizer.",
            why=f"{type(error).__name__}: {error}",
            next_step="Train the tokenizer again, or import it from a folder that transformers can open.",
        ) from error
    if not pieces:
        raise TokenizerUnreadable(f"{TOKENIZER_FILE} holds no pieces.", next_step="Train the tokenizer again.")
    return pieces


def _read_piece(pieces: dict[int, str], token: int) -> str:
    if token not in pieces:
        raise TokenizerMismatch(
            f"{TOKENIZER_FILE} has no piece for the special token {token}.",
            why="The record of the tokenizer and its file do not belong together.",
            next_step="Export with the tokenizer that the run names.",
        )
    return pieces[token]


def _drop_none(document: dict[str, int | None]) -> dict[str, int]:
    return {key: value for key, value in document.items() if value is not None}


def _render_json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
