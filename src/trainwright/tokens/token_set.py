"""A dataset version through a tokenizer, in shards: every document's ids, or every sample's with what is to be learnt."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from trainwright.core.errors import (
    InternalError,
    SampleWithoutTarget,
    SourceEmpty,
    TokenizerMismatch,
    TokenizerUnreadable,
)
from trainwright.core.pieces import Sample
from trainwright.core.records import DatasetVersion, Rendering, SplitContent, Tokenizer, TokenSet, TokenSplit
from trainwright.store.objects import ObjectStore
from trainwright.store.shards import SampleWriter, ShardWriter, TokenType
from trainwright.tokens.chat_tokens import EncodedSample, encode_pieces
from trainwright.tokens.protocol import TextTokenizer

_BATCH_CHARACTERS = 1_000_000


def build_token_set(
    dataset: DatasetVersion,
    tokenizer: Tokenizer,
    opened: TextTokenizer,
    documents: Callable[[str], Iterator[str]],
    objects: ObjectStore,
) -> TokenSet:
    """Tokenize every split of `dataset` into shards; `documents(split)` iterates over a split's texts.

    Ids are stored as uint16 where the vocabulary has at most 65,536 of them, as uint32 otherwise. Raises
    TokenizerMismatch where `opened` is not `tokenizer`, TokenizerUnreadable where the tokenizer has no end token.
    """
    _require_opened(tokenizer, opened)
    dtype = _choose_type(tokenizer)
    end = _require_end_token(tokenizer)
    splits = {
        name: _build_split(name, content, dtype, end, opened, documents(name), objects)
        for name, content in dataset.splits.items()
    }
    return TokenSet(
        dataset=dataset.id,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        dtype=dtype,
        splits=splits,
    )


def build_sample_token_set(
    dataset: DatasetVersion,
    tokenizer: Tokenizer,
    opened: TextTokenizer,
    samples: Mapping[str, Iterable[Sample]],
    rendering: Rendering,
    objects: ObjectStore,
) -> TokenSet:
    """Tokenize rendered samples, by split, into shards whose documents are samples, with the tokens to be learnt marked.

    A sample of more than `rendering.max_tokens` tokens is dropped or truncated as `rendering.too_long` says, and counted.
    Raises SampleWithoutTarget, by the sample's id, for one that has nothing to learn, or nothing left; SourceEmpty for a
    split of which nothing is left; TokenizerMismatch where `opened` is not `tokenizer`.
    """
    _require_opened(tokenizer, opened)
    dtype = _choose_type(tokenizer)
    splits = {name: _build_sample_split(name, samples[name], dtype, opened, rendering, objects) for name in samples}
    return TokenSet(
        dataset=dataset.id,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        dtype=dtype,
        splits=splits,
        rendering=rendering,
    )


def fit_sample(sample_id: str, encoded: EncodedSample, rendering: Rendering) -> EncodedSample | None:
    """A sample at its length or less; None where it is to be dropped. Raises SampleWithoutTarget."""
    if not encoded.num_targets:
        raise _without_target(sample_id, "Its rendered form has no token of the assistant's.")
    num_tokens = len(encoded.ids)
    if num_tokens <= rendering.max_tokens:
        return encoded
    match rendering.too_long:
        case "drop":
            return None
        case "truncate-left":
            fitted = encoded.cut(num_tokens - rendering.max_tokens, num_tokens)
        case "truncate-right":
            fitted = encoded.cut(0, rendering.max_tokens)
    if not fitted.num_targets:
        why = f"It has {num_tokens} tokens, and the {rendering.max_tokens} that {rendering.too_long} leaves are only read."
        raise _without_target(sample_id, why)
    return fitted


def require_same_tokenizer(token_set: TokenSet, tokenizer: Tokenizer) -> None:
    """Raise TokenizerMismatch, naming both fingerprints, unless the token set was made with this tokenizer."""
    if token_set.tokenizer_fingerprint != tokenizer.fingerprint:
        raise TokenizerMismatch(
            f"The tokens were made with the tokenizer {token_set.tokenizer_fingerprint[:12]}, not with "
            f"{tokenizer.fingerprint[:12]}.",
            why="The same ids stand for other text in another tokenizer.",
            next_step="Use the tokenizer of the token set, or build the token set again: trainwright run",
        )


def _build_split(
    name: str,
    content: SplitContent,
    dtype: TokenType,
    end: int,
    opened: TextTokenizer,
    texts: Iterable[str],
    objects: ObjectStore,
) -> TokenSplit:
    writer = ShardWriter(objects, dtype)
    num_bytes = 0
    for batch in _iter_batches(texts):
        num_bytes += sum(len(text.encode("utf-8")) for text in batch)
        for ids in opened.encode_many(batch):
            writer.append(np.append(ids, np.int32(end)))
    if (writer.num_documents, num_bytes) != (content.num_documents, content.num_bytes):
        raise InternalError(
            f"The split {name} gave {writer.num_documents} documents of {num_bytes} bytes.",
            why=f"Its dataset version says {content.num_documents} documents of {content.num_bytes} bytes.",
            next_step="Build the dataset again: trainwright run",
        )
    shards, boundaries = writer.close()
    return TokenSplit(
        shards=shards,
        boundaries=boundaries,
        num_tokens=writer.num_tokens,
        num_documents=writer.num_documents,
        num_bytes=num_bytes,
    )


def _build_sample_split(
    name: str,
    samples: Iterable[Sample],
    dtype: TokenType,
    opened: TextTokenizer,
    rendering: Rendering,
    objects: ObjectStore,
) -> TokenSplit:
    writer = SampleWriter(objects, dtype)
    num_bytes = num_target_bytes = num_dropped = num_truncated = 0
    for sample_id, pieces in samples:
        encoded = encode_pieces(opened, pieces)
        fitted = fit_sample(sample_id, encoded, rendering)
        if fitted is None:
            num_dropped += 1
            continue
        num_truncated += len(fitted.ids) < len(encoded.ids)
        writer.append(fitted.ids, fitted.targets)
        num_bytes += fitted.count_bytes()
        num_target_bytes += fitted.count_target_bytes()
    if not writer.num_samples:
        raise SourceEmpty(
            f"The split {name} has no samples.",
            why=f"All of its {num_dropped} samples are longer than {rendering.max_tokens} tokens and were dropped."
            if num_dropped
            else "There is no trace in it.",
            next_step="Allow longer samples, or have them truncated."
            if num_dropped
            else "Build the dataset with more traces, or with another split.",
        )
    return writer.close(
        num_bytes=num_bytes, num_target_bytes=num_target_bytes, num_dropped=num_dropped, num_truncated=num_truncated
    )


def _without_target(sample_id: str, why: str) -> SampleWithoutTarget:
    return SampleWithoutTarget(
        f"The sample {sample_id[:12]} has nothing to learn.",
        why=why,
        next_step="Leave it out of the dataset, allow longer samples, or treat those that are too long in another way: "
        "drop, truncate-left or truncate-right.",
    )


def _choose_type(tokenizer: Tokenizer) -> TokenType:
    return "uint16" if tokenizer.vocab_size <= 65_536 else "uint32"


def _require_opened(tokenizer: Tokenizer, opened: TextTokenizer) -> None:
    if opened.vocab_size != tokenizer.vocab_size:
        raise TokenizerMismatch(
            f"The opened tokenizer has {opened.vocab_size} ids, the tokenizer {tokenizer.fingerprint[:12]} has "
            f"{tokenizer.vocab_size}.",
            why="They are not the same tokenizer.",
            next_step="Open the tokenizer from its own record.",
        )


def _iter_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Documents in groups of about a million characters: enough to be fast, little enough to stay in memory."""
    batch: list[str] = []
    num_characters = 0
    for text in texts:
        batch.append(text)
        num_characters += len(text)
        if num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _require_end_token(tokenizer: Tokenizer) -> int:
    if tokenizer.special_tokens.end is None:
        raise TokenizerUnreadable(
            f"The tokenizer {tokenizer.fingerprint[:12]} names no end token.",
            why="Every document is closed by it; without one a model cannot learn where a text ends.",
            next_step='Name one in the folder\'s tokenizer_config.json, for example "eos_token": "</s>".',
        )
    return tokenizer.special_tokens.end
