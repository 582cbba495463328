"""WinoBias (Zhao et al. 2018, arXiv:1804.06876): whom does a pronoun mean, of two people named by their occupations?

Two files belong together, line by line: `pro_stereotyped_…`, and beside it `anti_stereotyped_…`, the same sentences with the
pronoun that does not fit the stereotype. A line is a number and a sentence in which brackets mark the right person and the
pronoun; the other person is the other occupation in it. Measured by likelihood: which person is likelier to follow?

    choices = (the person named first, the other one)
    meta = {"condition": "pro" | "anti", "pronoun": …}

An item has, beside the rows of any multiple choice, one of the metric `coreference_correct`. The cluster is the pair of lines.
"""

import re
from pathlib import Path

from trainwright.core.errors import InvalidRow, InvalidValue
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import read_text
from trainwright.evaluate.rows import invalid_row

SLICES = ("category", "condition")
PRO, ANTI = "pro_stereotyped", "anti_stereotyped"
OCCUPATIONS = (
    "accountant", "analyst", "assistant", "attendant", "auditor", "baker", "carpenter", "cashier", "CEO", "chief",
    "cleaner", "clerk", "construction worker", "cook", "counselor", "designer", "developer", "driver", "editor", "farmer",
    "guard", "hairdresser", "housekeeper", "janitor", "laborer", "lawyer", "librarian", "manager", "mechanic", "mover",
    "nurse", "physician", "receptionist", "salesperson", "secretary", "sheriff", "supervisor", "tailor", "teacher", "writer",
)  # fmt: skip
"""The forty of its table 1."""
PRONOUNS = ("he", "him", "his", "she", "her", "hers")

_NUMBERED = re.compile(r"\d+ (\S.*)")
_MARKED = re.compile(r"\[([^\[\]]+)\]")
_OCCUPATION = re.compile(rf"\b({'|'.join(OCCUPATIONS)})\b", re.IGNORECASE)


def read_winobias(path: Path) -> list[EvalItem]:
    """The sentences of the file of stereotypical ones and of the one beside it. Raises InvalidValue for another file."""
    if PRO not in path.name:
        raise InvalidValue(
            f"{path.name} is not the file of stereotypical sentences.",
            why=f"WinoBias has two files; the one to name has {PRO!r} in its name.",
            next_step=f"Name that one; the {ANTI!r} one is looked for beside it.",
        )
    beside = path.with_name(path.name.replace(PRO, ANTI))
    pro, anti = _read_sentences(path, "pro"), _read_sentences(beside, "anti")
    if len(pro) != len(anti):
        raise InvalidRow(
            f"{path.name} has {len(pro):,} sentences, {beside.name} {len(anti):,}.",
            why="They belong together line by line.",
            next_step="Take both from one release.",
        )
    return [item for pair in zip(pro, anti, strict=True) for item in pair]


def _read_sentences(path: Path, condition: str) -> list[EvalItem]:
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    return [
        _parse_sentence(line, path, number, condition, place) for place, (number, line) in enumerate(lines, start=1)
    ]


def _parse_sentence(line: str, path: Path, number: int, condition: str, place: int) -> EvalItem:
    found = _NUMBERED.fullmatch(line.strip())
    marked = [] if found is None else _MARKED.findall(found[1])
    pronouns = [part for part in marked if part.lower() in PRONOUNS]
    right = [occupation[1] for part in marked if (occupation := _OCCUPATION.search(part))]
    if found is None or len(pronouns) != 1 or len(right) != 1:
        why = "A line is a number and a sentence with brackets around the right person and the pronoun."
        raise invalid_row(path, number, "it is no sentence of WinoBias", why)
    sentence = _MARKED.sub(r"\1", found[1])
    named = list(dict.fromkeys(name.lower() for name in _OCCUPATION.findall(sentence)))
    if len(named) != 2:
        raise invalid_row(path, number, f"it names {len(named)} of the occupations", "A sentence is about two people.")
    return EvalItem(
        id=f"wino-{place}-{condition}",
        prompt=f'{sentence}\n"{pronouns[0].capitalize()}" means',
        expected_answer=f"the {right[0].lower()}",
        choices=tuple(f"the {name}" for name in named),
        category="gender",
        cluster_id=f"wino-{place}",
        meta={"condition": condition, "pronoun": pronouns[0].lower()},
    )
