"""What of an output is its answer: a chain of small readers, the first that finds something is believed.

    1. `Answer: X`     the last line that says so (also "Final answer: X", "The answer is X")
    2. `#### X`        the last one
    3. `\\boxed{X}`     the last one, braces balanced
    4. one line alone  an output of a single line is its own answer (where a number is wanted: if it is a number)
    5. last number     only where a number is wanted

Nothing found is `None`: the item is unparsed, which is not the same as wrong.
"""

import re
from dataclasses import dataclass

from trainwright.evaluate.numbers import find_last_number, parse_number

_ANSWER_LINE = re.compile(
    r"^[ \t>*_]*(?:the[ \t]+)?(?:final[ \t]+)?answer(?:[ \t*_]*:|[ \t]+is\b:?)[ \t*_]*(\S.*?)[ \t*_]*$",
    re.IGNORECASE | re.MULTILINE,
)
_HASHES = re.compile(r"####[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_BOXED = "\\boxed{"


@dataclass(frozen=True)
class Extracted:
    """An answer as it stands in the output, and the reader that found it."""

    text: str
    how: str


def extract_answer(output: str, *, numeric: bool) -> Extracted | None:
    """The answer in an output, by the chain above; `numeric`: a number is wanted."""
    for how, found in (
        ("Answer:", find_answer_line(output)),
        ("####", find_hashes(output)),
        ("\\boxed", find_boxed(output)),
        ("one line", find_single_line(output, numeric=numeric)),
        ("last number", find_last_number(output) if numeric else None),
    ):
        if found is not None:
            return Extracted(found, how)
    return None


def find_answer_line(output: str) -> str | None:
    """What follows the last "Answer:", "Final answer:" or "The answer is" that begins a line."""
    found = _ANSWER_LINE.findall(output)
    return found[-1] if found else None


def find_hashes(output: str) -> str | None:
    """What follows the last `####`, as GSM8K marks its answers."""
    found = _HASHES.findall(output)
    return found[-1] if found else None


def find_boxed(output: str) -> str | None:
    """What the last complete `\\boxed{…}` holds."""
    start = output.rfind(_BOXED)
    while start >= 0:
        inside = _read_braces(output, start + len(_BOXED))
        if inside:
            return inside
        start = output.rfind(_BOXED, 0, start)
    return None


def find_single_line(output: str, *, numeric: bool) -> str | None:
    """The output itself where it is one line, and a number if one is wanted."""
    text = output.strip()
    if not text or "\n" in text or (numeric and parse_number(text) is None):
        return None
    return text


def _read_braces(text: str, start: int) -> str | None:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip()
    return None
