"""A model of ours in a task of lm-evaluation-harness, put on record like any other evaluation."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.backends.catalogue import open_backend
from trainwright.core.errors import PackageMissing, SourceNotFound
from trainwright.core.hashing import digest_json
from trainwright.core.records import Evaluation, EvaluationSettings, ItemScore
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.metrics import METRICS, order_metrics
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.table import build_aggregates, count_statuses, digest_code, render_table
from trainwright.pipeline.asking import open_asking
from trainwright.pipeline.imported import read_model_weights
from trainwright.pipeline.use import find_model
from trainwright.store.checkpoints import read_checkpoint
from trainwright.store.workspace import Workspace

if TYPE_CHECKING:
    from trainwright.evaluate.harness import Asked, HarnessResult


@dataclass(frozen=True)
class HarnessRun:
    """The evaluation on record, its rows, the harness's own figures, and its metrics that our table has no rows of."""

    record: Evaluation
    rows: list[ItemScore]
    figures: dict[str, float]
    left_out: list[str]


def run_harness(ref: str, task: str, include_path: Path, workspace: Workspace, limit: int | None = None) -> HarnessRun:
    """Put the task of a local file to the model that `ref` names. Nothing is downloaded for it by us.

    Raises PackageMissing, SourceNotFound, InvalidValue (no such task), and what `find_model` raises.
    """
    _require_lm_eval()
    if not include_path.is_dir():
        raise SourceNotFound(
            f"There is no folder {include_path}.", next_step="Name the folder of the task's YAML file."
        )
    asked, checkpoint = _open_asked(ref, workspace)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    from trainwright.evaluate.harness import run_task

    found = run_task(asked, task, include_path, limit)
    return HarnessRun(_record(found, task, checkpoint, workspace), found.rows, found.figures, found.left_out)


def _require_lm_eval() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        raise PackageMissing(
            "lm-evaluation-harness is not installed.",
            why="Its tasks are run by its own code.",
            next_step="pip install 'trainwright[lm-eval]'",
        )


def _open_asked(ref: str, workspace: Workspace) -> "tuple[Asked, str]":
    from trainwright.evaluate.harness import Asked

    found = find_model(ref, workspace)
    plan, asking = found.prepared.plan, open_asking(found.prepared, workspace)
    compute = plan.compute.for_writing()
    weights = read_model_weights(plan.model, found.path, workspace)
    model = open_backend(compute.framework).open_model(plan.model, weights, compute)

    def write(prompt: str, decoding: Decoding, is_enough: Callable[[str], bool]) -> str:
        ids: list[int] = []
        for token in asking.iter_answer(model, asking.encode(prompt), decoding):
            ids.append(token)
            if is_enough(asking.tokenizer.decode(ids)):
                break
        return asking.finish(asking.tokenizer.decode(ids))

    asked = Asked(model, asking.encode, asking.tokenizer.encode, plan.training.max_seq_length, write)
    return asked, read_checkpoint(found.path).record.id


def _record(found: "HarnessResult", task: str, checkpoint: str, workspace: Workspace) -> Evaluation:
    """As of our own evaluations; `code` is of the harness's version too. Items are as the task asked them."""
    by_text = any(row.output is not None for row in found.rows)
    record = Evaluation(
        checkpoint=checkpoint,
        predictions=None,
        evalset=task,
        items=workspace.objects.put(render_rows(found.items)),
        prompts=workspace.objects.put(render_rows([{"id": item.id, "prompt": item.prompt} for item in found.items])),
        num_items=len(found.items),
        settings=EvaluationSettings(by="generation" if by_text else "likelihood", template="{prompt}"),
        compute=None,
        metrics={name: METRICS[name].version for name in order_metrics(row.metric for row in found.rows)},
        code=digest_json({"lm-eval": version("lm-eval"), "code": digest_code()}),
        statuses=count_statuses(found.rows),
        aggregates=build_aggregates(found.rows),
        table=workspace.objects.put(render_table(found.rows)),
    )
    workspace.ledger.put(record)
    return record
