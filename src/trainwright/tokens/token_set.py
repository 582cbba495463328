"""A dataset version through a tokenizer: every document's ids, closed by the end token, in shards."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from trainwright.core.errors import InternalError, TokenizerMismatch, TokenizerUnreadable
from trainwright.core.records import DatasetVersion, SplitContent, Tokenizer, TokenSet, TokenSplit
from trainwright.store.objects import ObjectStore
from trainwright.store.shards import ShardWriter, TokenType
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
    if opened.vocab_size != tokenizer.vocab_size:
        raise TokenizerMismatch(
            f"The opened tokenizer has {opened.vocab_size} ids, the tokenizer {tokenizer.fingerprint[:12]} has "
            f"{tokenizer.vocab_size}.",
            why="They are not the same tokenizer.",
            next_step="Open the tokenizer from its own record.",
        )
    dtype: TokenType = "uint16" if tokenizer.vocab_size <= 65_536 else "uint32"
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
