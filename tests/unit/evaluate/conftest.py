"""Item tables with known figures."""

import pytest

from trainwright.core.hashing import digest_bytes
from trainwright.core.records import Evaluation, EvaluationSettings, ItemScore
from trainwright.evaluate.metrics import METRICS
from trainwright.evaluate.table import build_aggregates, count_statuses, render_table


def build_row(item_id, score=None, metric="answer_correct", status=None, **more):
    status = status or ("unparsed" if score is None else "scored")
    filled = {"cluster_id": None, "slices": {}, "output": f"said {score}", "answer": None, "target": "5"}
    why = "" if score is not None else "no answer was found"
    return ItemScore(**(filled | {"why": why} | more), item_id=item_id, metric=metric, score=score, status=status)


def build_evaluation(rows, **more):
    filled = {
        "checkpoint": "c" * 64, "predictions": None, "evalset": "sums", "items": "1" * 64, "prompts": "2" * 64,
        "num_items": len({row.item_id for row in rows}), "compute": None, "code": "3" * 64,
        "settings": EvaluationSettings(by="generation", template="{prompt}", max_tokens=8, temperature=0.0, seed=0),
    }  # fmt: skip
    return Evaluation(
        **(filled | more),
        metrics={row.metric: METRICS[row.metric].version for row in rows},
        statuses=count_statuses(rows),
        aggregates=build_aggregates(rows),
        table=digest_bytes(render_table(rows)),
    )


@pytest.fixture(scope="session")
def make_row():
    return build_row


@pytest.fixture(scope="session")
def make_evaluation():
    return build_evaluation
