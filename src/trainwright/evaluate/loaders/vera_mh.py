"""VERA-MH (Belli et al. 2025, arXiv:2510.15297): a rubric for conversations about suicide risk, and personas who hold them.

A folder with `rubric.tsv` and `personas.tsv`. Each of a persona's sample prompts is an item that opens a conversation; the
cluster is the persona.

    meta = {"persona": …, "risk": the persona's current risk level, "disclosure": …}; category = the risk level

The rubric is for a judge (`read_rubric`): questions with the answers that may be given, each with the question to go on to.
A row without an id adds an answer to the question above it. Everything is kept as it is written there.
"""

from pathlib import Path

from trainwright.core.errors import SourceNotFound
from trainwright.core.records import Frozen
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import iter_table, require_field
from trainwright.evaluate.rows import invalid_row

RUBRIC, PERSONAS = "rubric.tsv", "personas.tsv"
RUBRIC_COLUMNS = ("Question ID", "Dimension", "Severity", "Risk Type", "Question", "Examples", "Answer", "GOTO")
PERSONA_COLUMNS = ("Name", "Current Risk Level", "Disclosure of Suicide Risk", "Sample Prompts")


class RubricAnswer(Frozen):
    """An answer that a judge may give, and the id of the question that follows ("END": none; "": the next)."""

    text: str
    goto: str


class RubricQuestion(Frozen):
    """One question of the rubric. Without `answers`, it is answered as the question says (yes, no, not relevant)."""

    id: str
    dimension: str
    severity: str
    risk_type: str
    question: str
    examples: str
    answers: tuple[RubricAnswer, ...]


def read_rubric(path: Path) -> list[RubricQuestion]:
    """The questions of `rubric.tsv`, in order. Raises InvalidRow for an answer before any question, SourceNotFound."""
    questions: list[RubricQuestion] = []
    for number, row in iter_table(path, RUBRIC_COLUMNS, delimiter="\t"):
        answer = RubricAnswer(text=row["Answer"].strip(), goto=row["GOTO"].strip())
        answers = (answer,) if answer.text else ()
        if row["Question ID"].strip():
            questions.append(
                RubricQuestion(
                    id=row["Question ID"].strip(),
                    dimension=require_field(row, "Dimension", path, number),
                    severity=row["Severity"].strip(),
                    risk_type=row["Risk Type"].strip(),
                    question=require_field(row, "Question", path, number),
                    examples=row["Examples"].strip(),
                    answers=answers,
                )
            )
        elif questions and answers:
            last = questions[-1]
            questions[-1] = last.model_copy(update={"answers": (*last.answers, answer)})
        else:
            raise invalid_row(path, number, "it has no Question ID, and adds no answer to a question before it")
    return questions


def read_vera_mh(folder: Path) -> list[EvalItem]:
    """The sample prompts of all personas, named after them. The rubric beside them is read too, so that it is known good."""
    if not folder.is_dir():
        raise SourceNotFound(
            f"There is no folder {folder}.",
            why=f"VERA-MH is a folder with {RUBRIC} and {PERSONAS}.",
            next_step="Check the path.",
        )
    read_rubric(folder / RUBRIC)
    path = folder / PERSONAS
    items = []
    for number, row in iter_table(path, PERSONA_COLUMNS, delimiter="\t"):
        name = require_field(row, "Name", path, number).strip()
        prompts = [
            prompt for part in require_field(row, "Sample Prompts", path, number).split(";") if (prompt := part.strip())
        ]
        risk = require_field(row, "Current Risk Level", path, number).strip()
        meta = {"persona": name, "risk": risk, "disclosure": row["Disclosure of Suicide Risk"].strip()}
        items += [
            EvalItem(id=f"vera-{name}-{place}", prompt=prompt, category=risk, cluster_id=name, meta=meta)
            for place, prompt in enumerate(prompts, start=1)
        ]
    return items
