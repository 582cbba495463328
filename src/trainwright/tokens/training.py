"""Training a tokenizer: SentencePiece, unigram or byte-pair encoding, on the training split alone.

Text must survive unchanged, so nothing is normalised: spaces are kept, the newline is a token of its own, digits stand
alone, and a character outside the vocabulary is written as its UTF-8 bytes. Pad, unknown, begin, end and the two turn
markers are *control* symbols: no text encodes to them, so what a user types never turns into a special token; only code
that asks for their ids puts them into a sequence.

The same text gives the same bytes. SentencePiece adds its expectations up thread by thread, so another thread count
gives other scores; it is trained on one thread, which also was the fastest (3 MB in 4 s, on two threads in 8 s).
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from trainwright.core.errors import SourceEmpty, TokenizerError, VocabularyTooLarge, VocabularyTooSmall
from trainwright.core.manifest import TokenizerSection
from trainwright.core.records import DatasetVersion, SpecialTokens, Tokenizer
from trainwright.store.objects import ObjectStore
from trainwright.tokens.conversion import build_tokenizer_json
from trainwright.tokens.lines import SPACE_MARK, iter_parts
from trainwright.tokens.scores import SCORE_STEPS_PER_UNIT, round_scores

SPECIAL_TOKENS = SpecialTokens(pad=0, unknown=1, begin=2, end=3, turn_start=4, turn_end=5)
"""The ids that every tokenizer trained here gives its special tokens."""

DEFAULT_VOCAB_SIZE = 4096
"""What `vocab_size: auto` aims at."""

MAX_TRAINING_CHARACTERS = 10_000_000
"""A larger corpus is sampled evenly down to this many characters: about 15 s of one core."""

_PARAMETERS: dict[str, Any] = {
    "add_dummy_prefix": False,
    "bos_id": SPECIAL_TOKENS.begin,
    "bos_piece": "<s>",
    "byte_fallback": True,
    # The rarest 0.05 % of all characters (a stray Greek quotation) would cost a place each; bytes spell them instead.
    "character_coverage": 0.9995,
    "control_symbols": ["<start_of_turn>", "<end_of_turn>"],
    "eos_id": SPECIAL_TOKENS.end,
    "eos_piece": "</s>",
    "max_sentence_length": 65_536,
    "normalization_rule_name": "identity",
    "num_threads": 1,
    "pad_id": SPECIAL_TOKENS.pad,
    "pad_piece": "<pad>",
    "remove_extra_whitespaces": False,
    # A text without a space would otherwise give a tokenizer that cannot write one.
    "required_chars": SPACE_MARK,
    "split_digits": True,
    "unk_id": SPECIAL_TOKENS.unknown,
    "unk_piece": "<unk>",
    "user_defined_symbols": ["\n"],
}

# What SentencePiece itself reads as a mark, or (NUL) as the end: it would skip the whole line that holds one.
_RESERVED = re.compile("[\x00\r\u2581\u2585]")
_TOO_LARGE = re.compile(r"Please set it to a value <= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_SILENT = 3  # what goes wrong comes back as an exception, not on standard error


def train_tokenizer(
    section: TokenizerSection, dataset: DatasetVersion, texts: Callable[[], Iterator[str]], objects: ObjectStore
) -> Tokenizer:
    """Train a tokenizer and put its files into `objects`; the same text gives the same record, byte for byte.

    `texts` iterates over the documents of the *training* split of `dataset`. `vocab_size: auto` is 4096, or the most
    that the text allows below it; where a script has more characters than fit into 4096, twice what they need.

    Raises VocabularyTooLarge (naming the largest possible size), VocabularyTooSmall (naming the smallest), SourceEmpty.
    """
    sentences = sample_sentences(texts(), dataset.splits["train"].num_characters)
    if not sentences:
        raise SourceEmpty(
            "There is no text to train a tokenizer on.",
            why="The training split holds nothing but line ends.",
            next_step="Name a corpus with text: trainwright run --corpus FILE",
        )
    model = round_scores(_train(section, sentences))
    files = {"tokenizer.model": model, "tokenizer.json": build_tokenizer_json(model, section.algorithm, SPECIAL_TOKENS)}
    return Tokenizer(
        dataset=dataset.id,
        algorithm=section.algorithm,
        vocab_size=_count_pieces(model),
        special_tokens=SPECIAL_TOKENS,
        files={name: objects.put(data) for name, data in files.items()},
        settings={
            **_PARAMETERS,
            "asked_vocab_size": section.vocab_size,
            "max_training_characters": MAX_TRAINING_CHARACTERS,
            "num_training_characters": sum(map(len, sentences)),
            "score_steps_per_unit": SCORE_STEPS_PER_UNIT,
            "sentencepiece": metadata.version("sentencepiece"),
        },
    )


def sample_sentences(
    texts: Iterable[str], num_characters: int, max_characters: int = MAX_TRAINING_CHARACTERS
) -> list[str]:
    """The lines of `texts`, long ones cut at spaces, thinned evenly where `num_characters` is more than the maximum.

    A line is kept whenever what was kept falls behind its share of what was seen; nothing is drawn at random.
    """
    share = min(1.0, max_characters / max(num_characters, 1))
    sentences: list[str] = []
    num_seen = num_kept = 0
    for text in texts:
        for sentence in _iter_sentences(text):
            num_seen += len(sentence)
            if num_kept < num_seen * share:
                sentences.append(sentence)
                num_kept += len(sentence)
    return sentences


def _iter_sentences(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        for part in _RESERVED.split(line):
            yield from (piece for piece in iter_parts(part) if piece)


def _train(section: TokenizerSection, sentences: list[str]) -> bytes:
    """The model's bytes. `auto` takes fewer pieces where the text gives fewer; a number is taken at its word."""
    automatic = section.vocab_size == "auto"
    vocab_size = DEFAULT_VOCAB_SIZE if section.vocab_size == "auto" else section.vocab_size
    try:
        return _run_sentencepiece(section.algorithm, sentences, vocab_size, exact=not automatic)
    except RuntimeError as error:
        too_small = _TOO_SMALL.search(str(error))
        if not automatic or too_small is None:
            raise _translate(str(error), vocab_size) from error
    return _run_sentencepiece(section.algorithm, sentences, 2 * int(too_small.group(1)), exact=False)


def _run_sentencepiece(algorithm: str, sentences: list[str], vocab_size: int, *, exact: bool) -> bytes:
    """Train from memory to memory: file names would end up inside the model and change its bytes."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=algorithm,
        vocab_size=vocab_size,
        hard_vocab_limit=exact,
        minloglevel=_SILENT,
        **_PARAMETERS,
    )
    return model.getvalue()


def _translate(complaint: str, vocab_size: int) -> TokenizerError:
    """What SentencePiece says, as one of our errors. It names the limits itself."""
    if too_large := _TOO_LARGE.search(complaint):
        largest = too_large.group(1)
        return VocabularyTooLarge(
            f"A vocabulary of {vocab_size} is more than this text allows: the largest possible is {largest}.",
            why="The training split does not hold that many different pieces.",
            next_step=f"Use --vocab-size {largest} or less, leave it at auto, or train on more text.",
        )
    if too_small := _TOO_SMALL.search(complaint):
        smallest = too_small.group(1)
        return VocabularyTooSmall(
            f"A vocabulary of {vocab_size} is too small for this text: the smallest possible is {smallest}.",
            why="The 256 bytes, the special tokens and each common character of the text need a place.",
            next_step=f"Use --vocab-size {smallest} or more, or leave it at auto.",
        )
    return TokenizerError(
        "SentencePiece could not train a tokenizer on this text.",
        why=complaint,
        next_step="Check that the corpus is ordinary text, or name another: trainwright run --corpus FILE",
    )


def _count_pieces(model: bytes) -> int:
    from sentencepiece import SentencePieceProcessor

    return int(SentencePieceProcessor(model_proto=model).get_piece_size())
