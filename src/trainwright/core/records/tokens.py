"""Tokenizers, and what they made of a dataset."""

from functools import cached_property
from typing import Any, ClassVar, Literal

from trainwright.core.hashing import Digest, digest_json
from trainwright.core.records.base import Frozen, Record, added


class SpecialTokens(Frozen):
    """Ids of the tokens that mean something other than text. `None` where the tokenizer has no such token."""

    pad: int | None
    unknown: int | None
    begin: int | None
    end: int | None
    turn_start: int | None = None
    turn_end: int | None = None


class Tokenizer(Record):
    """A tokenizer. `files` are the bytes of its model ({"tokenizer.json": digest, "tokenizer.model": digest})."""

    kind: Literal["tokenizer"] = "tokenizer"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset",)
    dataset: Digest | None
    algorithm: Literal["unigram", "bpe", "huggingface"]
    vocab_size: int
    special_tokens: SpecialTokens
    files: dict[str, Digest]
    settings: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """What must be equal for two token ids to mean the same text: the digest of the tokenizer's files."""
        return digest_json(self.files)


class Shard(Frozen):
    """A run of token ids, little-endian unsigned, memory-mapped from the object of that digest."""

    digest: Digest
    num_tokens: int


class TokenSplit(Frozen):
    """One split as tokens. `boundaries` is an object of uint64: the offset at which each document begins, then the end.

    `num_bytes` counts the UTF-8 bytes of the text these tokens stand for (special tokens stand for none). `targets` is an
    object of uint8, one a token: 1 where the token is one to be learnt, 0 where it is only read (None: all are to be
    learnt); `num_targets` counts the ones, and `num_target_bytes` the bytes that these stand for. `num_dropped` and
    `num_truncated` count the samples that were too long.
    """

    shards: tuple[Shard, ...]
    boundaries: Digest
    num_tokens: int
    num_documents: int
    num_bytes: int
    targets: Digest | None = added(None)
    num_targets: int | None = added(None)
    num_target_bytes: int | None = added(None)
    num_dropped: int = added(0)
    num_truncated: int = added(0)


TooLong = Literal["drop", "truncate-left", "truncate-right"]
"""What is done about a sample that has more tokens than it may: it is left out, or loses its beginning, or its end."""


class Rendering(Frozen):
    """How traces became samples. `system` is the digest of the system text (None: there is none).

    `template_digest` is of everything that decides what the template renders. A sample has at most `max_tokens` tokens;
    `too_long` is what is done about one that has more.
    """

    template: str
    template_digest: Digest
    system: Digest | None
    max_tokens: int
    too_long: TooLong


class TokenSet(Record):
    """A dataset version through a tokenizer. Every document is closed by the tokenizer's end token.

    Where there is a `rendering`, a document is a sample, and it ends as its chat template ends it.
    """

    kind: Literal["token-set"] = "token-set"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset", "tokenizer")
    dataset: Digest
    tokenizer: Digest
    tokenizer_fingerprint: Digest
    vocab_size: int
    dtype: Literal["uint16", "uint32"]
    splits: dict[str, TokenSplit]
    rendering: Rendering | None = added(None)
