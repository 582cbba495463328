"""What speaks against a model, or was not found out about it: told wherever the model is."""

from collections.abc import Iterator, Sequence

from trainwright.core.records import Check, Decision, Evaluation, Gate, Measure, Release, Report


def list_limits(
    release: Release | None, decision: Decision | None, report: Report | None, evaluations: Sequence[Evaluation]
) -> list[str]:
    """One sentence for each limit that is on record. `release` None: the model stands nowhere."""
    return [
        *_iter_release(release, decision),
        *_iter_decision(decision),
        *(_iter_report(report) if report is not None else ["There is no report on held-out text."]),
        *(line for evaluation in evaluations for line in _iter_evaluation(evaluation)),
        *([] if evaluations else ["No evalset was put to it."]),
    ]


def describe_gate(gate: Gate) -> str:
    """A gate in words: "answer_correct of sums at least 0.8"."""
    where = f"{gate.metric} of {gate.suite}" + (f", by {gate.by}" if gate.by else "")
    if gate.kind in ("at_least", "at_most"):
        return f"{where} {gate.kind.replace('_', ' ')} {gate.limit:g}" if gate.limit is not None else where
    if gate.kind == "superior" or gate.margin is None:
        return f"{where} {gate.kind.replace('_', '-')}"
    margin = f"{gate.margin:.1%} of the baseline's" if gate.relative else f"{gate.margin:g}"
    return f"{where} non-inferior by {margin}"


def _iter_release(release: Release | None, decision: Decision | None) -> Iterator[str]:
    if release is None:
        yield "It is not released: no gate was passed for it."
        return
    if release.override is not None:
        yield f"It passed by override of {release.override.who}, not by its gates: {release.override.why}"
    if decision is None and release.override is None:
        yield "There is no decision on it."


def _iter_decision(decision: Decision | None) -> Iterator[str]:
    if decision is None:
        return
    for result in decision.gates:
        if result.outcome != "pass":
            part = f" ({result.part})" if result.part else ""
            yield f"Gate {describe_gate(result.gate)}{part}: {result.outcome}. {result.why}".rstrip()
    for condition in decision.conditions:
        if condition.outcome != "pass":
            yield f"Condition {condition.name}: {condition.outcome}. {condition.why}".rstrip()
    if extra := len(set(decision.all_evaluations) - set(decision.evaluations)):
        yield f"{extra} more evaluations of it were made than were judged."


def _iter_report(report: Report) -> Iterator[str]:
    for check in report.checks:
        if check.passed is False:
            yield f"Budget not met: {_describe_check(check)}."
        elif check.passed is None and check.measured.value is None:
            yield f"Not measured: {check.name}. {check.measured.why_not}".rstrip()
    for name, measure in report.metrics.items():
        if measure.value is None:
            yield f"Not measured on {report.split}: {name}. {measure.why_not}".rstrip()


def _describe_check(check: Check) -> str:
    if check.measured.value is None or check.limit is None:
        return check.name
    limit = Measure(value=check.limit, unit=check.measured.unit)
    return f"{check.name} is {_quantity(check.measured)}, the limit {_quantity(limit)}"


def _quantity(measure: Measure) -> str:
    return f"{measure.value:,.4g} {measure.unit}".rstrip()


def _iter_evaluation(evaluation: Evaluation) -> Iterator[str]:
    for metric, statuses in evaluation.statuses.items():
        missing = {status: count for status, count in statuses.items() if status != "scored"}
        if missing:
            counts = ", ".join(f"{count} {status}" for status, count in missing.items())
            yield f"Of {evaluation.num_items} items of {evaluation.evalset}, under {metric}: {counts}."
    for name, measure in evaluation.aggregates.items():
        if measure.value is None:
            yield f"Not measured on {evaluation.evalset}: {name}. {measure.why_not}".rstrip()
