"""The scorers of a question, opened before anything is asked: what is wrong with them is said first."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainwright.core.errors import InvalidValue
from trainwright.core.records import ItemScore
from trainwright.evaluate.judge import Judge
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.table_scorers import TableScorer, find_judge_calibration, parse_table_scorer
from trainwright.pipeline.questions import Question, require_scorers
from trainwright.pipeline.scorers import open_parts
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class Scoring:
    """Opened scorers, and the id of the record that says how far the judge among them agrees with people."""

    scorers: tuple[TableScorer, ...]
    judge: str | None

    def score(self, question: Question, outputs: Sequence[Output]) -> list[ItemScore]:
        """The rows of all scorers, one scorer after the other."""
        return [row for scorer in self.scorers for row in scorer(question.items, outputs)]


def open_scoring(question: Question, workspace: Workspace, judge: Judge | None = None) -> Scoring:
    """The scorers that a question names. Raises InvalidValue for one that does not exist or fit, or where it names none."""
    require_scorers(question)
    parts = open_parts(workspace, judge)
    scorers = []
    for name in question.scorers:
        try:
            scorers.append(parse_table_scorer(name, parts))
        except ValueError as error:
            raise InvalidValue(
                f"The scorer {name!r} of {question.name} cannot be used.",
                why=f"{error}.",
                next_step="Mend `scorers` in the suite.",
            ) from error
    calibration = find_judge_calibration(question.scorers, parts)
    return Scoring(tuple(scorers), None if calibration is None else calibration.id)
