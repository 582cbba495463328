"""The model card: what is on record about a model, for people. What nobody recorded or measured says so.

The headings are those of Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.core.records import (
    Attestation,
    Check,
    Checkpoint,
    DatasetVersion,
    Decision,
    Estimate,
    Evaluation,
    ImportedModel,
    ImportedShape,
    Measure,
    Plan,
    Record,
    Release,
    Report,
    Run,
    Tokenizer,
    TokenSet,
    Verdict,
)
from trainwright.release.document import Document, Section, Table
from trainwright.release.limits import describe_gate, list_limits
from trainwright.store.lineage import label_record
from trainwright.watch.progress import render_duration
from trainwright.watch.report import render_measure, render_number

NOT_RECORDED = "not recorded"
NOT_MEASURED = "not measured"
NUM_ID_DIGITS = 12


@dataclass(frozen=True)
class CardFacts:
    """All that a card is made from. None, or empty: there is no such record.

    `materials` are the records between the source text and the checkpoint, `evaluations` come with the interval of every
    metric, `metrics` is the run's training_metrics.json, `signer` the name of who signed, `released_at` when the ref moved.
    """

    name: str
    release: Release | None
    released_at: str | None
    released_by: str | None
    decision: Decision | None
    checkpoint: Checkpoint
    run: Run
    plan: Plan
    materials: Sequence[Record]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Any]
    report: Report | None
    evaluations: Sequence[tuple[Evaluation, Mapping[str, Estimate]]]
    verdict: Verdict | None
    attestation: Attestation | None
    signer: str | None


def build_card(facts: CardFacts) -> Document:
    """The card as a document; equal records give an equal one."""
    release = facts.release
    where = f"{release.name}@{release.stage}" if release is not None else facts.name
    subtitle = (
        f"Release {release.id[:NUM_ID_DIGITS]}, checkpoint {facts.checkpoint.id[:NUM_ID_DIGITS]}. "
        if release is not None
        else f"Checkpoint {facts.checkpoint.id[:NUM_ID_DIGITS]}, not released. "
    ) + "Everything here is read from the records that these ids name."
    sections = (
        _describe_model(facts),
        Section("Intended use", facts=(("uses and users", NOT_RECORDED), ("languages", NOT_RECORDED))),
        _describe_data(facts),
        _describe_training(facts),
        _describe_held_out(facts.report),
        _describe_evaluations(facts.evaluations),
        _describe_decision(facts),
        Section(
            "Limits",
            sentences=() if (limits := _list_limits(facts)) else ("None is on record.",),
            points=tuple(limits),
        ),
        _describe_trust(facts),
        Section(
            "Lineage",
            points=tuple(
                _describe_record(each) for each in (facts.checkpoint, facts.run, facts.plan, *facts.materials)
            ),
        ),
    )
    return Document(f"Model card: {where}", subtitle, sections)


# ── sections ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _describe_model(facts: CardFacts) -> Section:
    shape, release = facts.plan.model, facts.release
    architecture = (
        str(shape.config.get("model_type", NOT_RECORDED)) if isinstance(shape, ImportedShape) else "qwen3 (decoder)"
    )
    adapter = shape.adapter if isinstance(shape, ImportedShape) else None
    rows = [
        ("name", facts.name),
        ("stage", release.stage if release is not None else "none"),
        ("released", _join(facts.released_at, facts.released_by) if release is not None else "no"),
        ("architecture", architecture),
        ("parameters", f"{shape.num_parameters:,}"),
        ("adapter", f"LoRA, rank {adapter.rank}" if adapter is not None else "none"),
        ("weights (SHA-256)", facts.checkpoint.weights),
        ("licence", NOT_RECORDED),
    ]
    return Section("Model", facts=tuple(rows))


def _describe_data(facts: CardFacts) -> Section:
    datasets = [each for each in facts.materials if isinstance(each, DatasetVersion)]
    rows = []
    for dataset in datasets:
        name = f"{dataset.name}@{dataset.version}" if dataset.holds_traces else dataset.source
        splits = ", ".join(f"{content.num_documents:,} {split}" for split, content in sorted(dataset.splits.items()))
        rows.append(
            (
                f"{name} ({dataset.id[:NUM_ID_DIGITS]})",
                "traces" if dataset.holds_traces else "text",
                splits,
                f"{sum(content.num_characters for content in dataset.splits.values()):,}",
                f"{dataset.num_dropped_duplicates:,}",
                NOT_RECORDED,
            )
        )
    files = [
        (file.name, f"{file.num_bytes:,}", file.digest[:NUM_ID_DIGITS])
        for dataset in datasets
        for file in dataset.files
    ]
    headings = ("dataset", "holds", "documents", "characters", "duplicates dropped", "licence")
    tables = [Table(headings, tuple(rows))] if rows else []
    tables += [Table(("file", "bytes", "SHA-256"), tuple(files))] if files else []
    words = () if rows else (f"Datasets: {NOT_RECORDED}.",)
    return Section("Training data", sentences=words, tables=tuple(tables))


def _describe_training(facts: CardFacts) -> Section:
    plan, training = facts.plan, facts.plan.training
    final = facts.metrics.get("final_metrics") or {}
    duration_s = final.get("total_training_time_s")
    tokenizers = [each for each in facts.materials if isinstance(each, Tokenizer)]
    optimizer, compute = training.optimizer, plan.compute
    rows = [
        ("run", f"{facts.run.name}, started {facts.run.started_at}"),
        ("time spent", NOT_RECORDED if duration_s is None else render_duration(float(duration_s))),
        ("steps", f"{facts.checkpoint.step:,} of {training.num_steps:,}"),
        (
            "tokens",
            f"{facts.checkpoint.num_tokens:,} learnt from, {_count_tokens(facts.materials)} in the training split",
        ),
        ("batch", f"{training.batch_size} windows of {training.max_seq_length} tokens"),
        (
            "optimizer",
            f"{optimizer.name}, peak rate {optimizer.learning_rate:g}, weight decay {optimizer.weight_decay:g}",
        ),
        ("schedule", f"{training.schedule.name}, {training.schedule.num_warmup_steps:,} steps of warm-up"),
        ("seed", str(plan.seed)),
        ("began from", _describe_start(plan, facts.materials)),
        ("tokenizer", "; ".join(label_record(each) for each in tokenizers) or NOT_RECORDED),
        (
            "computed by",
            f"{compute.framework} on {compute.device}, {compute.dtype}, on {_count(compute.num_threads, 'thread')}",
        ),
        ("processor", _dig(facts.environment, "cpu", "model")),
        ("GPU", _dig(facts.environment, "gpu", "name")),
        ("Python", _dig(facts.environment, "python", "version")),
        ("code", _dig(facts.environment, "git", "sha")),
        ("plan", plan.id),
    ]
    packages = facts.environment.get("packages")
    named = [f"{name} {version}" for name, version in sorted((packages or {}).items()) if version is not None]
    return Section("Training", facts=(*rows, ("packages", ", ".join(named) or NOT_RECORDED)))


def _describe_held_out(report: Report | None) -> Section:
    if report is None:
        return Section("Held-out text", sentences=(f"{NOT_MEASURED.capitalize()}: there is no report.",))
    metrics = tuple((_label(name), render_measure(measure)) for name, measure in report.metrics.items())
    checks = tuple(_describe_check(check) for check in report.checks)
    tables = [Table(("check", "measured", "limit", "outcome"), checks)] if checks else []
    words = (f"On the split {report.split}, which was not trained on.",)
    return Section("Held-out text", sentences=words, facts=metrics, tables=tuple(tables))


def _describe_check(check: Check) -> tuple[str, str, str, str]:
    limit = "none" if check.limit is None else render_measure(Measure(value=check.limit, unit=check.measured.unit))
    outcome = {True: "met", False: "not met", None: check.why or "no verdict"}[check.passed]
    return check.name, render_measure(check.measured), limit, outcome


def _describe_evaluations(evaluations: Sequence[tuple[Evaluation, Mapping[str, Estimate]]]) -> Section:
    if not evaluations:
        return Section("Evaluation", sentences=(f"{NOT_MEASURED.capitalize()}: no evalset was put to it.",))
    rows = tuple(
        (_name_evaluation(record), _label(metric), *_describe_estimate(estimate))
        for record, estimates in evaluations
        for metric, estimate in estimates.items()
        if estimate.value is not None
    )
    headings = ("evalset", "metric", "value", "95 % interval", "items", "method")
    tables = (Table(headings, rows),) if rows else ()
    return Section("Evaluation", tables=tables, points=tuple(_iter_undefined(evaluations)))


def _name_evaluation(record: Evaluation) -> str:
    return f"{record.evalset} ({record.id[:NUM_ID_DIGITS]})"


def _iter_undefined(evaluations: Sequence[tuple[Evaluation, Mapping[str, Estimate]]]) -> Iterator[str]:
    """A line for each reason why metrics have no value."""
    for record, estimates in evaluations:
        names: dict[str, list[str]] = {}
        for metric, estimate in estimates.items():
            if estimate.value is None:
                names.setdefault(estimate.why_not, []).append(_label(metric))
        for why, metrics in names.items():
            yield f"{_name_evaluation(record)}: undefined are {', '.join(metrics)}: {why}"


def _describe_estimate(estimate: Estimate) -> tuple[str, str, str, str]:
    value = f"undefined: {estimate.why_not}" if estimate.value is None else render_number(estimate.value)
    if estimate.low is None or estimate.high is None:
        interval = f"undefined: {estimate.why_not}"
    else:
        interval = f"{render_number(estimate.low)} to {render_number(estimate.high)}"
    items = f"{estimate.n:,}" + (f" in {estimate.num_clusters:,} clusters" if estimate.num_clusters is not None else "")
    return value, interval, items, estimate.method


def _describe_decision(facts: CardFacts) -> Section:
    decision, release = facts.decision, facts.release
    words = []
    if release is not None and release.override is not None:
        words.append(
            f"It was let through by {release.override.who}, against or without its gates: {release.override.why}"
        )
    if decision is None:
        return Section("Gates", sentences=(*words, "No decision is on record."))
    words.append(
        f"Decided {decision.at} by {decision.who}: {decision.outcome} (decision {decision.id[:NUM_ID_DIGITS]})."
    )
    gates = tuple(
        (describe_gate(each.gate), each.part or "all items", each.outcome, _interval(each.candidate), each.why)
        for each in decision.gates
    )
    conditions = tuple((each.name, each.outcome, each.why) for each in decision.conditions)
    tables = [Table(("gate", "of", "outcome", "measured", "why"), gates)] if gates else []
    tables += [Table(("condition", "outcome", "why"), conditions)] if conditions else []
    return Section("Gates", sentences=tuple(words), tables=tuple(tables))


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOT_MEASURED
    value, interval, *_ = _describe_estimate(estimate)
    return value if estimate.value is None else f"{value} ({interval})"


def _describe_trust(facts: CardFacts) -> Section:
    if facts.attestation is None:
        signed = (
            "unsigned: nobody attested this release" if facts.release is not None else "unsigned: it is not released"
        )
    else:
        signed = f"by {facts.signer or facts.attestation.signer[:NUM_ID_DIGITS]}, {facts.attestation.at}"
    verdict = facts.verdict
    computed = "never" if verdict is None else f"{verdict.status}, {verdict.share:.0%} of the steps, {verdict.at}"
    rows = (("signed", signed), ("computed again", computed))
    return Section("Trust", facts=rows)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _list_limits(facts: CardFacts) -> list[str]:
    return list_limits(facts.release, facts.decision, facts.report, [record for record, _ in facts.evaluations])


def _describe_record(record: Record) -> str:
    return f"{record.kind} {record.id[:NUM_ID_DIGITS]}: {label_record(record)}"


def _describe_start(plan: Plan, materials: Sequence[Record]) -> str:
    if plan.start is not None:
        return f"checkpoint {plan.start.source[:NUM_ID_DIGITS]} ({plan.start.mode})"
    bases = [each for each in materials if isinstance(each, ImportedModel)]
    return "; ".join(label_record(each) for each in bases) or "random weights"


def _count_tokens(materials: Sequence[Record]) -> str:
    sets = [each for each in materials if isinstance(each, TokenSet)]
    counts = [f"{each.splits['train'].num_tokens:,}" for each in sets if "train" in each.splits]
    return " and ".join(counts) or NOT_RECORDED


def _join(at: str | None, by: str | None) -> str:
    return " by ".join(_iter_known(at, by)) or NOT_RECORDED


def _iter_known(*values: str | None) -> Iterator[str]:
    yield from (value for value in values if value)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _label(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ")


def _dig(document: Mapping[str, Any], *keys: str) -> str:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return str(value) if value else NOT_RECORDED
