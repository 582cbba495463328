"""Text to ids and back, for every kind of tokenizer record.

    opened = open_tokenizer(record, objects)
    opened.decode(opened.encode(text)) == text        # every text, for tokenizers trained here

Text never encodes to a special token, whatever it says: special tokens are put into a sequence by their ids.
"""

from trainwright.core.errors import TokenizerUnreadable
from trainwright.core.records import Tokenizer
from trainwright.store.objects import ObjectStore
from trainwright.tokens.huggingface import HuggingFaceTokenizer
from trainwright.tokens.protocol import TextTokenizer
from trainwright.tokens.trained import SentencePieceTokenizer


def open_tokenizer(record: Tokenizer, objects: ObjectStore) -> TextTokenizer:
    """The tokenizer of a record. Its files are verified against their digests before they are parsed.

    Raises TokenizerUnreadable, and ObjectMissing or ObjectDamaged from the store.
    """
    if record.algorithm == "huggingface":
        return HuggingFaceTokenizer(objects.get(_require_file(record, "tokenizer.json")), record.special_tokens)
    opened = SentencePieceTokenizer(objects.get(_require_file(record, "tokenizer.model")), record.special_tokens)
    if opened.vocab_size != record.vocab_size:
        raise TokenizerUnreadable(
            f"The tokenizer {record.id[:12]} does not match its record.",
            why=f"Its model has {opened.vocab_size} pieces, its record says {record.vocab_size}.",
            next_step="Train the tokenizer again.",
        )
    return opened


def _require_file(record: Tokenizer, name: str) -> str:
    if name not in record.files:
        raise TokenizerUnreadable(
            f"The tokenizer {record.id[:12]} has no {name}.",
            why=f"Its record names {', '.join(sorted(record.files)) or 'no files'}.",
            next_step="Train or import the tokenizer again.",
        )
    return record.files[name]
