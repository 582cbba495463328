"""Tokenizers that were made elsewhere: a Hugging Face tokenizer folder, read through the `tokenizers` library."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import TokenizerUnreadable
from trainwright.core.records import SpecialTokens, Tokenizer
from trainwright.store.objects import ObjectStore
from trainwright.tokens.marked_text import MarkedText
from trainwright.tokens.protocol import Span, StreamDecoder, require_encodable, require_known

_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_TEMPLATE_FILE = "chat_template.jinja"
_ROLES = {"begin": "bos_token", "end": "eos_token", "pad": "pad_token", "unknown": "unk_token"}
# The chat formats in use mark turns with one of these pairs; the names are part of the formats.
_TURN_MARKERS = (
    ("<start_of_turn>", "<end_of_turn>"),
    ("<|im_start|>", "<|im_end|>"),
    ("<|start_header_id|>", "<|eot_id|>"),
)
_INCOMPLETE = "\ufffd"


def import_tokenizer(folder: Path, objects: ObjectStore) -> Tokenizer:
    """Put the files of a Hugging Face tokenizer folder into `objects` and describe them as a record.

    `tokenizer.json` is needed. The special tokens are those that `tokenizer_config.json` names, or else
    `special_tokens_map.json`; a role that neither names stays empty. Raises TokenizerUnreadable, naming the file.
    """
    data = _read_file(folder, "tokenizer.json")
    configs = {name: _read_file(folder, name) for name in _CONFIG_FILES if (folder / name).is_file()}
    opened = HuggingFaceTokenizer(data, SpecialTokens(pad=None, unknown=None, begin=None, end=None))
    documents = [_parse_mapping(folder / name, content) for name, content in configs.items()]
    if (folder / _TEMPLATE_FILE).is_file():
        configs[_TEMPLATE_FILE] = _read_file(folder, _TEMPLATE_FILE)
    names = {role: _find_name(documents, key) for role, key in _ROLES.items()}
    ids = {role: _require_id(opened, folder, _ROLES[role], name) for role, name in names.items()}
    turn_start, turn_end = _find_turn_markers(opened)
    return Tokenizer(
        dataset=None,
        algorithm="huggingface",
        vocab_size=opened.vocab_size,
        special_tokens=SpecialTokens(**ids, turn_start=turn_start, turn_end=turn_end),
        files={name: objects.put(content) for name, content in {"tokenizer.json": data, **configs}.items()},
        settings={"special_token_names": names},
    )


def read_chat_template(record: Tokenizer, objects: ObjectStore) -> str | None:
    """The chat template that a tokenizer carries, or None: `chat_template.jinja`, else what `tokenizer_config.json` has.

    Where that is several, the one called `default`. Raises TokenizerUnreadable, ObjectMissing, ObjectDamaged.
    """
    if _TEMPLATE_FILE in record.files:
        return objects.get(record.files[_TEMPLATE_FILE]).decode("utf-8", errors="replace")
    if "tokenizer_config.json" not in record.files:
        return None
    config = _parse_mapping(Path("tokenizer_config.json"), objects.get(record.files["tokenizer_config.json"]))
    found = config.get("chat_template")
    if isinstance(found, list):
        found = next((entry.get("template") for entry in found if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


class HuggingFaceTokenizer:
    """A tokenizer from its `tokenizer.json`. Truncation and padding that the file asks for are switched off."""

    def __init__(self, data: bytes, special_tokens: SpecialTokens) -> None:
        import tokenizers

        try:
            # from_str would raise a bare Exception here
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        except ValueError as error:
            raise TokenizerUnreadable(
                "tokenizer.json cannot be read.",
                why=str(error),
                next_step="Save the tokenizer again in the format of the `tokenizers` library.",
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # "</s>" in a text stays the four characters that a person typed
        self._data = data
        self._special_tokens = special_tokens
        self._no_text = {value for value in special_tokens.model_dump().values() if value is not None}
        self._vocab_size = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, added tokens included (ids may have gaps)."""
        return self._vocab_size

    @property
    def special_tokens(self) -> SpecialTokens:
        """Ids that stand for no text."""
        return self._special_tokens

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; see `TextTokenizer.encode`."""
        require_encodable(text)
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """One array a text, encoded on all cores; see `TextTokenizer.encode_many`."""
        for text in texts:
            require_encodable(text)
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    @cached_property
    def control_tokens(self) -> Mapping[str, int]:
        """{name: id}; see `TextTokenizer.control_tokens`.

        They are the tokens that the file marks as special, and those that have a role. The unknown token is none: text
        may well become it.
        """
        roles = set(self._special_tokens.model_dump(exclude={"unknown"}).values())
        unknown = {self._special_tokens.unknown} - roles
        added = self._tokenizer.get_added_tokens_decoder().items()
        return {
            token.content: token_id
            for token_id, token in added
            if token_id in roles or (token.special and token_id not in unknown)
        }

    def encode_parts(self, parts: Sequence[str | int]) -> list[Span]:
        """Tokens with their place; see `TextTokenizer.encode_parts`."""
        for part in parts:
            if isinstance(part, str):
                require_encodable(part)
        return self._marked_text.encode(parts)

    def read_name(self, token_id: int) -> str:
        """The entry of the vocabulary; see `TextTokenizer.read_name`."""
        require_known(token_id, self.vocab_size)
        return str(self._tokenizer.id_to_token(token_id))

    @cached_property
    def _marked_text(self) -> MarkedText:
        return MarkedText(self._data, set(self.control_tokens.values()))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; see `TextTokenizer.decode`."""
        kept = []
        for token_id in ids:
            require_known(token_id, self.vocab_size)
            if token_id not in self._no_text:
                kept.append(int(token_id))
        return str(self._tokenizer.decode(kept, skip_special_tokens=True))

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one sequence."""
        return _WindowDecoder(self)

    def find_id(self, token: str) -> int | None:
        """The id of a token by its name, or None."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found


class _WindowDecoder:
    """Decodes a short window twice, without and with the newest tokens: the difference is what they added.

    A decoder may strip the first space of what it is given, or need several tokens for one character; the window always
    begins with tokens whose text is out already, so neither shows. Its cost does not grow with the sequence. (Bytes
    that are no UTF-8 may give another number of U+FFFD than `decode` of the whole does.)
    """

    def __init__(self, tokenizer: HuggingFaceTokenizer) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []  # the tokens that were made text last
        self._held: list[int] = []  # those that were not yet

    def feed(self, token_id: int) -> str:
        self._held.append(token_id)
        new = self._read_new()
        if not new or new.endswith(_INCOMPLETE):
            return ""
        self._shown, self._held = self._held, []
        return new

    def finish(self) -> str:
        new = self._read_new()
        self._shown, self._held = self._held, []
        return new

    def _read_new(self) -> str:
        before = self._tokenizer.decode(self._shown)
        return self._tokenizer.decode(self._shown + self._held)[len(before) :]


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TokenizerUnreadable(
            f"There is no {name} in {folder}.",
            why="A Hugging Face tokenizer folder holds a tokenizer.json.",
            next_step="Name the folder that holds it, or save a fast tokenizer: tokenizer.save_pretrained(FOLDER)",
        ) from error
    except OSError as error:
        raise TokenizerUnreadable(
            f"{folder / name} cannot be read.", why=f"{error.strerror}.", next_step="Check the file's permissions."
        ) from error


def _parse_mapping(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise TokenizerUnreadable(
            f"{path} is not JSON.", why=str(error), next_step="Get the file again from where the tokenizer came from."
        ) from error
    if not isinstance(document, dict):
        raise TokenizerUnreadable(
            f"{path} does not hold a mapping.",
            why=f"It holds a {type(document).__name__}.",
            next_step="Get the file again from where the tokenizer came from.",
        )
    return document


def _find_name(documents: list[dict[str, Any]], key: str) -> str | None:
    """A special token's text: written as such, or as a mapping with its `content`."""
    for document in documents:
        value = document.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            return content
    return None


def _require_id(opened: HuggingFaceTokenizer, folder: Path, key: str, name: str | None) -> int | None:
    if name is None:
        return None
    found = opened.find_id(name)
    if found is None:
        raise TokenizerUnreadable(
            f"{folder}: the {key} {name!r} is not in tokenizer.json.",
            why="The folder's files do not belong together, or the token was added after they were saved.",
            next_step="Save the tokenizer again as a whole: tokenizer.save_pretrained(FOLDER)",
        )
    return found


def _find_turn_markers(opened: HuggingFaceTokenizer) -> tuple[int | None, int | None]:
    for start, end in _TURN_MARKERS:
        start_id, end_id = opened.find_id(start), opened.find_id(end)
        if start_id is not None and end_id is not None:
            return start_id, end_id
    return None, None
