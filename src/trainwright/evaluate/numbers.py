"""Numbers in running text: signs, thousands, decimals, fractions, money and per cent; always exact, never a float."""

import re
from fractions import Fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_FRACTION = rf"(?P<top>{_DIGITS})(?:[ ]?/[ ]?(?P<bottom>\d+))?"
_WHOLE = re.compile(
    rf"[(]?(?P<sign>[-+−–])?\s*[$€£¥]?\s*(?P<inner>[-−])?{_FRACTION}\s*(?P<percent>%)?"
    r"(?P<unit>(?:\s*[°]?[^\W\d_](?:[^\W\d_]|[²³/.'’-])*){0,4})\s*[.)!]*",
)
_IN_TEXT = re.compile(rf"(?:(?<![\w.)])[-−])?[$€£¥]?(?:(?<=[$€£¥])[-−])?(?:{_DIGITS})(?:/\d+(?![\d/.]))?%?")
MAX_CHARACTERS = 400
"""A longer run of digits is no answer, and would be slow to read."""


def parse_number(text: str) -> Fraction | None:
    """The number that `text` is, units and currency off: "$1,234.50", "18 eggs", "3/4", "-5 °C"; None if it is none.

    Per cent is a unit like any other: "25 %" is 25.
    """
    text = text.strip().strip("*_`").strip()
    if len(text) > MAX_CHARACTERS:
        return None
    found = _WHOLE.fullmatch(text)
    if found is None:
        return None
    bottom = int(found["bottom"]) if found["bottom"] else 1
    if bottom == 0:
        return None
    value = Fraction(found["top"].replace(",", "")) / bottom
    return -value if (found["sign"] in ("-", "−", "–")) != bool(found["inner"]) else value


def find_last_number(text: str) -> str | None:
    """The last number that stands in a text, as it is written there."""
    found = [match for match in _IN_TEXT.findall(text) if len(match) <= MAX_CHARACTERS]
    return found[-1] if found else None


def is_plain_number(text: str) -> bool:
    """Whether a text is a number with nothing beside it but a sign, a currency or per cent."""
    found = _WHOLE.fullmatch(text.strip()) if len(text) <= MAX_CHARACTERS else None
    return found is not None and not found["unit"].strip()
