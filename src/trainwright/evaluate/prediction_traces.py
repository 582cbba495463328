"""Outputs as reasoning traces, so that what a model said can be imported, looked at and selected like any other trace."""

from typing import Any

from trainwright.core.records import ItemScore
from trainwright.evaluate.steps import split_steps

MAX_STEPS = 1_000
MAX_STEP_CHARACTERS = 20_000
MAX_ANSWER_CHARACTERS = 50_000


def build_trace(row: ItemScore, prompt: str, evaluation_id: str) -> dict[str, Any] | None:
    """A row of a generated answer as a trace; None for an empty output, which is none.

    The steps are those of the output; an output without any is one step. Where no answer was read out of it, the whole
    output is the final answer, and `meta.status` says so.
    """
    output = (row.output or "").strip()
    if not output:
        return None
    steps = [step[:MAX_STEP_CHARACTERS] for step in split_steps(output)[:MAX_STEPS]] or [output[:MAX_STEP_CHARACTERS]]
    return {
        "trace_version": "1.0",
        "prompt": prompt,
        "final_answer": (row.answer or output)[:MAX_ANSWER_CHARACTERS],
        "steps": [{"i": number, "type": "generated", "content": step} for number, step in enumerate(steps)],
        "meta": {
            "source": "evaluation",
            "evaluation": evaluation_id,
            "item_id": row.item_id,
            "metric": row.metric,
            "score": row.score,
            "status": row.status,
            "expected_answer": row.target,
            **row.slices,
        },
    }
