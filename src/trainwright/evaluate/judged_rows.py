"""Rows of the item table from what a scorer found about outputs."""

from collections.abc import Callable, Sequence

from trainwright.core.records import ItemScore
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.scorers import Judgement


def build_row(item: EvalItem, output: Output, metric: str, judgement: Judgement) -> ItemScore:
    """One item under one metric."""
    return ItemScore(
        item_id=item.id,
        cluster_id=item.cluster_id,
        slices=item.slices,
        metric=metric,
        score=judgement.score,
        output=output.text,
        answer=judgement.answer,
        target=item.expected_answer,
        status=judgement.status,
        finish=output.finish,
        why=judgement.why,
    )


def judge_text(output: Output, judge: Callable[[str], Judgement]) -> Judgement:
    """What `judge` finds about the text that was written, where one was."""
    if output.text is None:
        return Judgement("error", why=output.error or "there is no output")
    if not output.text.strip():
        return Judgement("unparsed", why="the output is empty")
    return judge(output.text)


def mark_unavailable(
    items: Sequence[EvalItem], outputs: Sequence[Output], metrics: Sequence[str], why: str
) -> list[ItemScore]:
    """Rows that say what is missing, and what would provide it."""
    judgement = Judgement("unavailable", why=why)
    return [
        build_row(item, output, metric, judgement)
        for item, output in zip(items, outputs, strict=True)
        for metric in metrics
    ]
