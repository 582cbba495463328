"""Text with control tokens in it, through a Hugging Face tokenizer in one go, where only the template can write them.

The `tokenizers` library finds the names of control tokens in a text, whoever wrote them, or finds none at all. Here a copy
of the tokenizer finds none, and has for each control token a stand-in: an ordinary added token whose name holds a
character that the text does not. Stand-ins divide the text in just the places where the names would have divided it, so
what stands between them becomes the same tokens. One more stand-in, for no token, divides text where it is told to.
"""

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from trainwright.core.errors import InternalError, InvalidEncoding
from trainwright.tokens.protocol import Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FIRST_UNUSED = 0xF0000  # private use
_CUT = -1


class MarkedText:
    """A tokenizer's bytes, opened anew for text in which control tokens stand by their ids."""

    def __init__(self, data: bytes, control_ids: Collection[int]) -> None:
        self._data = data
        self._control_ids = sorted(control_ids)
        self._open = lru_cache(maxsize=2)(self._open_with)

    def encode(self, parts: Sequence[str | int]) -> list[Span]:
        """See `TextTokenizer.encode_parts`. Raises InvalidEncoding for a text that leaves no character unused."""
        mark = _find_unused([part for part in parts if isinstance(part, str)])
        tokenizer, token_of = self._open(mark)
        written = list(_write_out(parts, mark))
        starts = [0, *accumulate(len(text) for _, text in written)]
        encoding = tokenizer.encode("".join(text for _, text in written), add_special_tokens=False)
        stand_ins = iter([at for at, (part, _) in enumerate(written) if part is None or isinstance(parts[part], int)])
        spans: list[Span] = []
        here = 0  # what is between two stand-ins is one text
        for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            stands_for = token_of.get(token_id)
            if stands_for is None:
                part, text = written[here]
                places = (min(max(place - starts[here], 0), len(text)) for place in (start, stop))
                spans.append(Span(token_id, _require_part(part), *places))
            else:
                here = next(stand_ins)
                part, _ = written[here]
                if stands_for != _CUT:
                    spans.append(Span(stands_for, _require_part(part), 0, 0))
                here += 1
        return spans

    def _open_with(self, mark: str) -> "tuple[Tokenizer, dict[int, int]]":
        """The copy whose stand-ins are named with `mark`, and {stand-in's id: control token's id}."""
        from tokenizers import AddedToken, Tokenizer

        document = json.loads(self._data)
        document |= {"truncation": None, "padding": None, "post_processor": None}  # the last may trim offsets
        originals = {}
        for entry in document.get("added_tokens", []):
            if entry["id"] in self._control_ids:
                entry["special"] = True  # not to be found in text, whatever the file says
                originals[entry["id"]] = entry
        tokenizer = Tokenizer.from_buffer(json.dumps(document).encode())
        tokenizer.encode_special_tokens = True
        names = {_CUT: _name_stand_in(mark, _CUT)} | {
            token_id: _name_stand_in(mark, token_id) for token_id in self._control_ids
        }
        tokenizer.add_tokens(
            [
                AddedToken(
                    name,
                    single_word=False,
                    lstrip=originals.get(token_id, {}).get("lstrip", False),
                    rstrip=originals.get(token_id, {}).get("rstrip", False),
                    normalized=False,
                    special=False,
                )
                for token_id, name in names.items()
            ]
        )
        ids = tokenizer.get_vocab(with_added_tokens=True)
        return tokenizer, {ids[name]: token_id for token_id, name in names.items()}


def _write_out(parts: Sequence[str | int], mark: str) -> Iterator[tuple[int | None, str]]:
    """(number of the part, its text or stand-in), with a stand-in of no part wherever two texts meet."""
    for number, part in enumerate(parts):
        if number and isinstance(part, str) and isinstance(parts[number - 1], str):
            yield None, _name_stand_in(mark, _CUT)
        yield number, part if isinstance(part, str) else _name_stand_in(mark, part)


def _require_part(part: int | None) -> int:
    if part is None:
        raise InternalError("A token was found where text was to be divided.")
    return part


def _name_stand_in(mark: str, token_id: int) -> str:
    return f"{mark}{token_id}{mark}"


def _find_unused(texts: Sequence[str]) -> str:
    used = {character for text in texts if not text.isascii() for character in set(text)}
    for code in range(_FIRST_UNUSED, sys.maxunicode + 1):
        if chr(code) not in used:
            return chr(code)
    raise InvalidEncoding(
        "The text holds every private-use character there is.",
        why="One is needed to mark where control tokens stand.",
        next_step="Leave some of them out.",
    )
