"""A SentencePiece model as `tokenizer.json`, the format of the Hugging Face `tokenizers` library, with the same ids.

What has to be said in the other format's words:

- A space is the mark ▁ inside pieces. No piece holds one but at its start, so text may be split before every ▁ (which
  lets the library remember the words it has seen); for the same reason a newline stands alone.
- The library's unigram model looks control pieces and byte pieces up in text as if they were ordinary ones: a person's
  "<s>" or "<0x41>" would become token 2 or the letter A. SentencePiece never does that. Text is therefore split inside
  every such name, between its bracket and its letters, where no piece can reach across: trained pieces never mix
  scripts, and brackets are of another script than letters, or than digits, which stand alone.
- Byte-pair merges are not stored by SentencePiece: any two pieces that join to a third may be merged, in the order of
  the third. Where the same piece can be joined in two overlapping ways (only in runs like "aaaaa"), SentencePiece takes
  the leftmost, the library the pair listed first; such runs could be segmented differently (in 50,000 texts
  made to provoke it, none was).

Two things differ by the format's nature, and only for those who open `tokenizer.json` with other tools: the names of
special tokens in text are recognised there (unless `encode_special_tokens` is set), because chat templates rely on it;
and the character ▁ itself (U+2581) is read as a space, as SentencePiece itself reads it.
"""

import re
from typing import TYPE_CHECKING, Any, Literal

from trainwright.core.hashing import canonical_json
from trainwright.core.records import SpecialTokens
from trainwright.tokens.lines import SPACE_MARK

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor


def build_tokenizer_json(model: bytes, algorithm: Literal["unigram", "bpe"], special_tokens: SpecialTokens) -> bytes:
    """`tokenizer.json` for a SentencePiece model that was trained here (identity normalisation, byte fallback)."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    special_ids = sorted(value for value in special_tokens.model_dump().values() if value is not None)
    special_names = [processor.id_to_piece(special_id) for special_id in special_ids]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(*item) for item in zip(special_ids, special_names, strict=True)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK},
        "pre_tokenizer": _pre_tokenizer(special_names),
        "post_processor": None,
        "decoder": _decoder(),
        "model": _unigram_model(processor) if algorithm == "unigram" else _byte_pair_model(processor),
    }
    return canonical_json(document)


def _added_token(token_id: int, content: str) -> dict[str, Any]:
    exact_match = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": content, "special": True, **exact_match}


def _pre_tokenizer(special_names: list[str]) -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            _split({"Regex": _inside_of_names(special_names)}, "MergedWithPrevious"),
            _split({"String": "\n"}, "Isolated"),
            _split({"String": SPACE_MARK}, "MergedWithNext"),
        ],
    }


def _split(pattern: dict[str, str], behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def _inside_of_names(special_names: list[str]) -> str:
    """A pattern for the opening bracket of what reads like a special token or a byte piece."""
    names = "|".join(re.escape(name.lstrip("</")) for name in special_names)
    return f"</?(?={names}|0x[0-9A-F]{{2}}>)"


def _decoder() -> dict[str, Any]:
    steps = [
        {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    return {"type": "Sequence", "decoders": steps}


def _unigram_model(processor: "SentencePieceProcessor") -> dict[str, Any]:
    ids = range(processor.get_piece_size())
    vocabulary = [[processor.id_to_piece(token_id), processor.get_score(token_id)] for token_id in ids]
    return {"type": "Unigram", "unk_id": processor.unk_id(), "vocab": vocabulary, "byte_fallback": True}


def _byte_pair_model(processor: "SentencePieceProcessor") -> dict[str, Any]:
    ids = range(processor.get_piece_size())
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": processor.id_to_piece(processor.unk_id()),
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {processor.id_to_piece(token_id): token_id for token_id in ids},
        "merges": _merges(processor),
    }


def _merges(processor: "SentencePieceProcessor") -> list[list[str]]:
    """Every pair of pieces that joins to a piece: best piece first, its shortest left side first."""
    ids = [token_id for token_id in range(processor.get_piece_size()) if _is_text(processor, token_id)]
    scores = {processor.id_to_piece(token_id): processor.get_score(token_id) for token_id in ids}
    best_first = sorted(scores, key=lambda piece: -scores[piece])
    cuts = ((piece, at) for piece in best_first for at in range(1, len(piece)))
    return [[piece[:at], piece[at:]] for piece, at in cuts if piece[:at] in scores and piece[at:] in scores]


def _is_text(processor: "SentencePieceProcessor", token_id: int) -> bool:
    """False for control, unknown, byte and user-defined pieces, which take no part in merging."""
    return not (
        processor.is_control(token_id)
        or processor.is_unknown(token_id)
        or processor.is_byte(token_id)
        or processor.id_to_piece(token_id) == "\n"
    )
