"""An evalset: items with a prompt and the answer that is expected, read from a file and kept as they were read.

    {"id": "add-1", "prompt": "What is 2 + 3?", "expected_answer": "5", "category": "sums", "difficulty": "easy",
     "section": "A", "cluster_id": "sums-of-two", "scorer": "numeric", "choices": ["4", "5"], "meta": {…}}

`id`, `prompt` and `expected_answer` are needed; where nothing is held against an answer (a refusal, a checklist, a text that is
measured as it stands), the expected answer may be left out, and `prompt` may be called `text`. What others publish in forms of
their own is read by `loaders/`.
"""

from pathlib import Path
from typing import Any

from trainwright.core.errors import SourceEmpty
from trainwright.core.records import Frozen, added
from trainwright.evaluate.rows import Row, invalid_row, iter_rows, require_known_keys
from trainwright.evaluate.scorers import Scorer, choose_scorer, parse_scorer

KEYS = (
    "id", "prompt", "text", "expected_answer", "category", "difficulty", "section", "cluster_id", "choices", "scorer", "meta",
)  # fmt: skip
SLICES = ("category", "difficulty", "section")
"""What results are broken down by, where nothing else is said."""
MAX_CHARACTERS = 50_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class EvalItem(Frozen):
    """One question. `expected_answer` is text as it was written; with `choices` it is one of them, or its letter. None:
    nothing that could be said is right or wrong by itself.

    `meta` is what scorers of other kinds need to know of it, and is kept as it was written. `sliced_by` names what its results
    are broken down by, in place of SLICES: any of those, or keys of `meta` that hold a text.
    """

    id: str
    prompt: str
    expected_answer: str | None = None
    category: str | None = added(None)
    difficulty: str | None = added(None)
    section: str | None = added(None)
    cluster_id: str | None = added(None)
    choices: tuple[str, ...] | None = added(None)
    scorer: str | None = added(None)
    meta: dict[str, Any] | None = added(None)
    sliced_by: tuple[str, ...] | None = added(None)

    @property
    def slices(self) -> dict[str, str]:
        """{slice: value} of those the item has."""
        names = SLICES if self.sliced_by is None else self.sliced_by
        return {name: value for name in names if (value := self.find_label(name)) is not None}

    def find_label(self, name: str) -> str | None:
        """The text that the item has under a name: one of SLICES, `cluster_id`, or a key of its `meta`."""
        value = getattr(self, name) if name in (*SLICES, "cluster_id") else (self.meta or {}).get(name)
        return value if isinstance(value, str) else None

    def open_scorer(self) -> Scorer:
        """The scorer it names, or the one that the form of its target asks for."""
        return choose_scorer(self.expected_answer or "") if self.scorer is None else parse_scorer(self.scorer)

    def find_choice(self) -> int | None:
        """Which of the choices is expected; None where there are none, or it is not among them."""
        if self.choices is None or self.expected_answer is None:
            return None
        if self.expected_answer in self.choices:
            return self.choices.index(self.expected_answer)
        letter = self.expected_answer.strip(" ().")
        position = LETTERS.find(letter) if len(letter) == 1 else -1
        return position if 0 <= position < len(self.choices) else None


def read_items(path: Path, *, need_answers: bool = True) -> list[EvalItem]:
    """The items of a file of our own form, in order.

    Raises SourceNotFound, SourceUnreadable, SourceEmpty, InvalidEncoding; InvalidRow with the line of a malformed item, of
    an id that an earlier line has, of a scorer that does not exist, of a missing answer where answers are needed.
    """
    items: list[EvalItem] = []
    lines: dict[str, int] = {}
    for number, row in iter_rows(path):
        item = _parse_item((number, row), path, need_answers)
        if item.id in lines:
            raise invalid_row(
                path, number, f"the id {item.id!r} is there twice", f"Line {lines[item.id]} has it too.",
                "Give every item an id of its own.",
            )  # fmt: skip
        lines[item.id] = number
        items.append(item)
    return require_items(items, path)


def require_items(items: list[EvalItem], path: Path) -> list[EvalItem]:
    """The items. Raises SourceEmpty where there are none."""
    if not items:
        raise SourceEmpty(f"There is no item in {path}.", next_step="Put one JSON object on each line.")
    return items


def _parse_item(row: Row, path: Path, need_answers: bool) -> EvalItem:
    number, document = row
    require_known_keys(document, KEYS, path, number)
    if "prompt" in document and "text" in document:
        raise invalid_row(path, number, "it has a prompt and a text", "Both are what the model reads.", "Keep one.")
    has_answer = need_answers or document.get("expected_answer") is not None

    def find_text(key: str) -> str | None:
        return None if document.get(key) is None else require_text(document, key, path, number, maximum=256)

    item = EvalItem(
        id=require_text(document, "id", path, number, maximum=256),
        prompt=require_text(document, "text" if "text" in document else "prompt", path, number),
        expected_answer=require_text(document, "expected_answer", path, number) if has_answer else None,
        choices=_parse_choices(document, path, number),
        category=find_text("category"),
        difficulty=find_text("difficulty"),
        section=find_text("section"),
        cluster_id=find_text("cluster_id"),
        scorer=None if document.get("scorer") is None else require_text(document, "scorer", path, number),
        meta=_parse_meta(document, path, number),
    )
    try:
        item.open_scorer()
    except ValueError as error:
        raise invalid_row(path, number, f"scorer {item.scorer!r} cannot be used", f"{error}.") from None
    if item.choices is not None and item.expected_answer is not None and item.find_choice() is None:
        why = f"The choices are {', '.join(item.choices)}."
        raise invalid_row(path, number, f"the expected answer {item.expected_answer!r} is none of the choices", why)
    return item


def _parse_meta(document: dict[str, Any], path: Path, number: int) -> dict[str, Any] | None:
    meta = document.get("meta")
    if meta is not None and not isinstance(meta, dict):
        raise invalid_row(path, number, "meta is not a JSON object")
    return meta or None


def _parse_choices(document: dict[str, Any], path: Path, number: int) -> tuple[str, ...] | None:
    choices = document.get("choices")
    if choices is None:
        return None
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise invalid_row(path, number, "choices is not a list of texts")
    if not 2 <= len(choices) <= len(LETTERS) or len(set(choices)) < len(choices):
        raise invalid_row(path, number, f"choices are 2 to {len(LETTERS)} different texts")
    return tuple(choices)


def require_text(document: dict[str, Any], key: str, path: Path, number: int, maximum: int = MAX_CHARACTERS) -> str:
    """The text under a key; whole numbers and decimals are taken as they are written in JSON."""
    value = document.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)
    if not isinstance(value, str) or not value.strip():
        raise invalid_row(path, number, f"{key} is {'missing' if value is None else 'not a text, or empty'}")
    if len(value) > maximum:
        raise invalid_row(path, number, f"{key} has {len(value):,} characters, more than {maximum:,}")
    return value
