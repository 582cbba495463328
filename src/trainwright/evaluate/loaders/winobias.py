"""WinoBias (Zhao et al. 2018, arXiv:1804.06876): sentences with a pronoun that fits or does not fit an occupation's stereotype.

Two files belong together, line by line: `pro_stereotyped_…` and, beside it, `anti_stereotyped_…`. A line is a number and a
sentence in which brackets mark the occupation and the pronoun. Measured by likelihood as the pairs of CrowS-Pairs are: is the
sentence that fits the stereotype the likelier one?
"""

import re
from pathlib import Path

from trainwright.core.errors import InvalidRow, InvalidValue
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import read_text
from trainwright.evaluate.rows import invalid_row

PRO, ANTI = "pro_stereotyped", "anti_stereotyped"
_LINE = re.compile(r"\d+ (.*\[.+\].*)")


def read_winobias(path: Path) -> list[EvalItem]:
    """The pairs of the file of stereotypical sentences and of the one beside it. Raises InvalidValue for another file."""
    if PRO not in path.name:
        raise InvalidValue(
            f"{path.name} is not the file of stereotypical sentences.",
            why=f"WinoBias has two files; the one to name has {PRO!r} in its name.",
            next_step=f"Name that one; the {ANTI!r} one is looked for beside it.",
        )
    beside = path.with_name(path.name.replace(PRO, ANTI))
    stereotypical, others = _read_sentences(path), _read_sentences(beside)
    if len(stereotypical) != len(others):
        raise InvalidRow(
            f"{path.name} has {len(stereotypical):,} sentences, {beside.name} {len(others):,}.",
            why="They belong together line by line.",
            next_step="Take both from one release.",
        )
    pairs = enumerate(zip(stereotypical, others, strict=True), start=1)
    meta = {"direction": "stereo", "bias_type": "gender"}
    return [
        EvalItem(id=f"wino-{number}", prompt="", choices=(more, less), category="gender", meta=meta)
        for number, (more, less) in pairs
    ]


def _read_sentences(path: Path) -> list[str]:
    sentences = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            found = _LINE.fullmatch(line.strip())
            if found is None:
                why = "A line is a number, and a sentence with brackets around the occupation and the pronoun."
                raise invalid_row(path, number, "it is no sentence of WinoBias", why)
            sentences.append(found[1].replace("[", "").replace("]", ""))
    return sentences
