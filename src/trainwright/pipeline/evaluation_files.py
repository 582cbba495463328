"""An evaluation as files: whole, for `compare` on another machine, and its outputs as traces."""

import json
from pathlib import Path

from pydantic import ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import SourceUnreadable
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.records import Evaluation, ItemScore
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.prediction_traces import build_trace
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.table import render_table
from trainwright.pipeline.evaluate import Evaluated, build_prompt_rows, require_new


def write_evaluation(evaluated: Evaluated, path: Path, *, overwrite: bool) -> None:
    """One JSON file with the record and all that it names, for `compare` on another machine."""
    require_new(path, overwrite=overwrite)
    document = {
        "evaluation": evaluated.record.model_dump(mode="json"),
        "items": [item.model_dump(mode="json") for item in evaluated.items],
        "prompts": build_prompt_rows(evaluated.items, evaluated.prompts),
        "table": [row.model_dump(mode="json") for row in evaluated.rows],
    }
    write_file(path, canonical_json(document) + b"\n")


def read_evaluation_file(path: Path) -> Evaluated:
    """What `write_evaluation` wrote, verified by its digests. Raises SourceUnreadable."""
    try:
        document = json.loads(path.read_bytes())
        evaluated = Evaluated(
            Evaluation.model_validate(document["evaluation"]),
            [ItemScore.model_validate(row) for row in document["table"]],
            [EvalItem.model_validate(item) for item in document["items"]],
            [str(row["prompt"]) for row in document["prompts"]],
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise SourceUnreadable(
            f"{path} is no evaluation.",
            why=" ".join(str(error).split())[:300],
            next_step="Write one with: trainwright evaluate … --output FILE.json",
        ) from error
    _require_unchanged(evaluated, path)
    return evaluated


def write_prediction_traces(evaluated: Evaluated, path: Path, *, overwrite: bool) -> tuple[int, int]:
    """The outputs as traces that can be imported. Returns how many were written, and how many were empty and left out."""
    require_new(path, overwrite=overwrite)
    answers = [row for row in evaluated.rows if row.metric.startswith("answer_") and row.output is not None]
    prompts = dict(zip((item.id for item in evaluated.items), evaluated.prompts, strict=True))
    traces = [build_trace(row, prompts[row.item_id], evaluated.record.id) for row in answers]
    kept = [trace for trace in traces if trace is not None]
    write_file(path, render_rows(kept))
    return len(kept), evaluated.record.num_items - len(kept)


def _require_unchanged(evaluated: Evaluated, path: Path) -> None:
    record = evaluated.record
    found = {
        "items": (record.items, render_rows(evaluated.items)),
        "prompts": (record.prompts, render_rows(build_prompt_rows(evaluated.items, evaluated.prompts))),
        "table": (record.table, render_table(evaluated.rows)),
    }
    changed = [name for name, (digest, data) in found.items() if digest_bytes(data) != digest]
    if changed:
        raise SourceUnreadable(
            f"{path} is not what it was when it was written.",
            why=f"Changed: {', '.join(changed)}.",
            next_step="Evaluate again, and write it anew.",
        )
