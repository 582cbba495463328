"""A judge and its record: who is asked, what was said before, and how far it agrees with people."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainwright.core.errors import InvalidValue, JudgeSilent, SourceNotFound
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.records import ItemScore, JudgeCalibration
from trainwright.evaluate.figures import measure, measure_parse_rate
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.judge import (
    Ask,
    Judge,
    NoVerdictError,
    Rubric,
    identify_judge,
    judge_pair,
    judge_points,
    open_recorded,
    read_rubric,
)
from trainwright.evaluate.labelled_files import read_labelled_rows
from trainwright.evaluate.rows import invalid_row
from trainwright.store.workspace import Workspace

MAX_TOKENS = 1_000
PREFERENCES = {"output": 1.0, "tie": 0.5, "expected": 0.0}
"""What people may say of a pair, and what it counts as."""


@dataclass(frozen=True)
class JudgeOptions:
    """Who judges: a model behind an endpoint, or what one said before (`record`). `key_env` names the variable of its key."""

    model: str
    endpoint: str | None = None
    record: Path | None = None
    key_env: str | None = None


def open_judge(options: JudgeOptions, workspace: Workspace) -> Judge:
    """The judge, with everything that it said before. Without an endpoint it says nothing new.

    Its answers are kept in `record`, else in the workspace. Raises InvalidValue, SourceNotFound.
    """
    if options.endpoint is None and options.record is None:
        raise InvalidValue(
            "Nobody can judge.",
            why="Neither an endpoint nor a record of what a judge said was named.",
            next_step="Add --judge-endpoint URL, or --judge-record FILE.",
        )
    if options.endpoint is None and options.record is not None and not options.record.is_file():
        raise SourceNotFound(
            f"There is no record {options.record}.", next_step="Check the path, or name an endpoint as well."
        )
    kept = options.record or workspace.root / "judgements" / f"{digest_json(options.model)}.jsonl"
    ask = None if options.endpoint is None else _open_endpoint(options.endpoint, options.model, options.key_env)
    return Judge(
        options.model,
        open_recorded(options.model, kept, ask),
        lambda judge: find_calibration(judge, workspace),
    )


def find_calibration(judge: str, workspace: Workspace) -> JudgeCalibration | None:
    """The newest calibration of a judge (`identify_judge`)."""
    after = None
    while page := workspace.ledger.find("judge-calibration", after=after):
        for row in page:
            if isinstance(row.record, JudgeCalibration) and row.record.judge == judge:
                return row.record
        after = page[-1].record.id
    return None


def calibrate(rubric_file: Path, labelled: Path, judge: Judge, workspace: Workspace) -> JudgeCalibration:
    """Hold a judge against people's labels: a CSV file with the columns prompt, output, label, and expected for pairs.

    A label is points of the rubric, or, of a pair, `output`, `expected` or `tie`. Raises InvalidValue (the rubric),
    InvalidRow, JudgeSilent, and what `read_labelled_rows` raises.
    """
    try:
        rubric = read_rubric(rubric_file)
    except ValueError as error:
        raise InvalidValue(f"{rubric_file.name} is no rubric.", why=f"{error}.", next_step="Mend the file.") from error
    columns = ["prompt", "output", "label", *(["expected"] if rubric.kind == "pair" else [])]
    digest, fields = read_labelled_rows(labelled, columns)
    rows = list(_judge_rows(fields, rubric, judge.ask, labelled))
    silent = [row for row in rows if row.status == "error"]
    if silent or not rows:
        raise JudgeSilent(
            f"The judge {judge.model} answered {len(rows) - len(silent)} of {len(rows)} labelled outputs.",
            why=silent[0].why if silent else f"{labelled.name} has no rows.",
            next_step="Run it again: what it said is kept, and only the rest is asked.",
        )
    record = JudgeCalibration(
        model=judge.model,
        rubric=workspace.objects.put(canonical_json(rubric.model_dump(mode="json"))),
        judge=identify_judge(judge.model, rubric),
        labelled=digest,
        num_rows=len(rows),
        kappa=measure("kappa", rows),
        parse_rate=measure_parse_rate("answer_correct", rows),
    )
    workspace.ledger.put(record)
    return record


def _judge_rows(fields: list[tuple[int, dict[str, str]]], rubric: Rubric, ask: Ask, path: Path) -> Iterator[ItemScore]:
    """Labels and verdicts as classes of an item table."""
    for number, row in fields:
        wanted = _parse_label(row["label"], rubric, path, number)
        judge_one = judge_pair if rubric.kind == "pair" else judge_points
        found = judge_one(row["prompt"], row["output"], row.get("expected") or "", rubric, ask)
        said = None if found.score is None else f"{found.score:g}"
        yield ItemScore(
            item_id=str(number),
            cluster_id=None,
            slices={},
            metric="answer_correct",
            score=None if said is None else float(said == wanted),
            output=row["output"],
            answer=said,
            target=wanted,
            status=found.status,
            why=found.why,
        )


def _parse_label(label: str, rubric: Rubric, path: Path, number: int) -> str:
    """A label as the share of the most that a verdict would be."""
    if rubric.kind == "pair":
        if label.strip() not in PREFERENCES:
            raise invalid_row(path, number, f"the label {label!r} is not one of {', '.join(PREFERENCES)}")
        return f"{PREFERENCES[label.strip()]:g}"
    low, high = rubric.points
    try:
        points = float(label)
    except ValueError:
        points = low - 1.0
    if not low <= points <= high:
        raise invalid_row(path, number, f"the label {label!r} is no number from {low} to {high}")
    return f"{(points - low) / (high - low):g}"


def _open_endpoint(url: str, model: str, key_env: str | None) -> Ask:
    from trainwright.evaluate.endpoint import Endpoint, NoAnswerError, require_endpoint_url

    key = None if key_env is None else os.environ.get(key_env)
    if key_env is not None and not key:
        raise InvalidValue(
            f"The environment variable {key_env} is not set.",
            why="It was to hold the judge's key.",
            next_step=f"Set it: export {key_env}=…",
        )
    endpoint = Endpoint(require_endpoint_url(url), model, key)
    decoding = Decoding(max_tokens=MAX_TOKENS, temperature=0.0, top_p=1.0)

    def ask(prompt: str) -> str:
        try:
            output = endpoint.ask("judge", prompt, decoding)
        except NoAnswerError as error:
            raise NoVerdictError(str(error)) from error
        return output.text or ""

    return ask
