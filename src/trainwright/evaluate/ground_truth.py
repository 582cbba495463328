"""From outputs to rows of the item table: the answer against the expected one, and the steps against arithmetic."""

from collections.abc import Sequence

from trainwright.core.records import ItemScore, ItemStatus
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judged_rows import build_row
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.scorers import Judgement, Scorer
from trainwright.evaluate.steps import check_steps


def score_outputs(items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
    """The rows of all items, in order: one for the answer, and one for the steps where the answer is a number."""
    return [row for item, output in zip(items, outputs, strict=True) for row in score_output(item, output)]


def score_output(item: EvalItem, output: Output) -> list[ItemScore]:
    """The rows of one item."""
    scorer = item.open_scorer()
    rows = [build_row(item, output, scorer.metric, _judge_answer(item, output, scorer))]
    if scorer.name in ("numeric", "math"):
        rows.append(build_row(item, output, "steps_correct", _judge_steps(output)))
    return rows


def _judge_answer(item: EvalItem, output: Output, scorer: Scorer) -> Judgement:
    if item.expected_answer is None:
        return Judgement("unavailable", why="the item has no expected answer")
    if output.text is None:
        return Judgement("error", why=output.error or "there is no output")
    if output.refused:
        return Judgement("refused", why="the model refused to answer")
    if not output.text.strip():
        return Judgement("unparsed", why="the output is empty")
    return scorer.score(output.text, item.expected_answer)


def _judge_steps(output: Output) -> Judgement:
    if output.text is None:
        return Judgement("error", why=output.error or "there is no output")
    statements = check_steps(output.text)
    if not statements:
        status: ItemStatus = "refused" if output.refused else "unparsed"
        return Judgement(status, why="no step states any arithmetic that can be checked")
    wrong = [statement.text for statement in statements if not statement.is_true]
    return Judgement("scored", float(not wrong), why=f"not so: {'; '.join(wrong[:3])}" if wrong else "")
