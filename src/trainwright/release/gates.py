"""Gates: from the figures of a candidate, and of what it is compared with, to pass, fail or inconclusive.

A gate looks at the end of an interval, never at a figure alone. Its bounds are one-sided: each leaves out the truth with
probability alpha (the interval given has to be the two-sided one of 1 − 2·alpha). What lies wholly on the right side of the
limit passes, wholly on the wrong side fails, and across it is inconclusive, with the number of items that would settle it.

Whatever is missing fails: a gate opens only on evidence. Items without a value are not passed over: what could not be
answered, read or scored is seldom the easiest. Nothing here knows what a metric is; the pipeline brings figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from trainwright.core.records import Condition, Estimate, Gate, GateOutcome, GateResult

Better = Literal["higher", "lower", "zero"]


class Missing(NamedTuple):
    """How many rows of a metric are without a value (`num`), of how many (`out_of`)."""

    num: int
    out_of: int


NOTHING_MISSING = Missing(0, 0)


@dataclass(frozen=True)
class Evidence:
    """The figures of one gate in one part of the items ("" for all of them, else "category=sums").

    `difference` is candidate − baseline, paired. `spread` is the standard deviation per item of what the gate decides on.
    `edge`: both lie at the least or the most that the metric can be. `identical`: both gave the same, item by item.
    `is_first`: nothing stands at the stage yet that could be compared with. `missing` and `baseline_missing` count the rows
    without a value.
    """

    candidate: Estimate
    better: Better
    part: str = ""
    baseline: Estimate | None = None
    difference: Estimate | None = None
    spread: float | None = None
    edge: Literal["floor", "ceiling"] | None = None
    identical: bool = False
    is_first: bool = False
    missing: Missing = NOTHING_MISSING
    baseline_missing: Missing = NOTHING_MISSING


@dataclass(frozen=True)
class _Decided:
    outcome: GateOutcome
    why: str
    distance: float | None = None
    """How far the figure lies from where it would turn; given where it is inconclusive."""


Settle = Callable[[float, float], int | None]
"""From (spread, distance) to the number of items that would settle it; None where none can be said."""


def judge_gate(gate: Gate, evidence: Evidence, settle: Settle) -> GateResult:
    """What comes of a gate. Figures that are undefined, too few, or of the wrong kind make it fail."""
    decided = _decide(gate, evidence)
    needed = None
    if decided.outcome == "inconclusive" and decided.distance is not None and evidence.spread is not None:
        needed = settle(evidence.spread, decided.distance)
    return GateResult(
        gate=gate,
        part=evidence.part,
        outcome=decided.outcome,
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        difference=evidence.difference,
        items_to_settle=needed,
        why=decided.why,
    )


def refuse_gate(gate: Gate, why: str, part: str = "") -> GateResult:
    """The result of a gate for which there is no evidence: it fails, and says what is missing."""
    return GateResult(
        gate=gate,
        part=part,
        outcome="fail",
        candidate=None,
        baseline=None,
        difference=None,
        items_to_settle=None,
        why=why,
    )


def combine(gates: Sequence[GateResult], conditions: Sequence[Condition]) -> GateOutcome:
    """Pass where everything passes; fail where anything fails; else inconclusive. Nothing at all is a failure."""
    outcomes = [gate.outcome for gate in gates] + [condition.outcome for condition in conditions]
    if not gates or "fail" in outcomes:
        return "fail"
    return "inconclusive" if "inconclusive" in outcomes else "pass"


def _decide(gate: Gate, evidence: Evidence) -> _Decided:
    if evidence.candidate.value is None:
        return _Decided("fail", f"{gate.metric} is undefined: {evidence.candidate.why_not}")
    if evidence.candidate.n < gate.min_n:
        return _Decided("fail", f"{evidence.candidate.n} items are fewer than the {gate.min_n} that are asked for")
    for who, (num, out_of) in (("", evidence.missing), (" of the baseline", evidence.baseline_missing)):
        if num > gate.max_missing * out_of:
            share = f"{gate.max_missing:.0%} may" if gate.max_missing else "none may"
            return _Decided("fail", f"{num} of {out_of} items{who} have no value for {gate.metric}; {share}")
    if gate.kind in ("at_least", "at_most"):
        return _decide_limit(gate, evidence)
    return _decide_difference(gate, evidence)


# ── against a limit ───────────────────────────────────────────────────────────────────────────────────────────────────
def _decide_limit(gate: Gate, evidence: Evidence) -> _Decided:
    assert gate.limit is not None
    wrong = {"at_least": "lower", "at_most": "higher"}[gate.kind]
    if evidence.better == wrong or (evidence.better == "zero" and gate.kind == "at_least"):
        best = "at 0" if evidence.better == "zero" else f"when {evidence.better}"
        return _Decided("fail", f"{gate.metric} is best {best}: {gate.kind} asks for the opposite")
    estimate = evidence.candidate
    if estimate.low is None or estimate.high is None or estimate.value is None:
        return _Decided("fail", f"{gate.metric} has no interval: {estimate.why_not}")
    low, high, value = estimate.low, estimate.high, estimate.value
    if evidence.better == "zero":  # its size counts, whichever side of 0 it is on
        low, high, value = (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high)), abs(value)
    if gate.kind == "at_least":
        return _compare(low, high, value, gate.limit, "above", "below")
    turned = _compare(-high, -low, -value, -gate.limit, "below", "above")
    return _Decided(turned.outcome, _describe(low, high, gate.limit, turned.outcome, "below", "above"), turned.distance)


def _compare(low: float, high: float, value: float, limit: float, right: str, wrong: str) -> _Decided:
    outcome: GateOutcome = "pass" if low >= limit else "fail" if high < limit else "inconclusive"
    distance = abs(value - limit) if outcome == "inconclusive" else None
    return _Decided(outcome, _describe(low, high, limit, outcome, right, wrong), distance)


def _describe(low: float, high: float, limit: float, outcome: GateOutcome, right: str, wrong: str) -> str:
    where = {"pass": f"lies {right}", "fail": f"lies {wrong}", "inconclusive": "lies across"}[outcome]
    return f"the interval {low:.4g} to {high:.4g} {where} {limit:.4g}"


# ── against a baseline ────────────────────────────────────────────────────────────────────────────────────────────────
def _decide_difference(gate: Gate, evidence: Evidence) -> _Decided:
    if evidence.is_first:
        return _decide_first(gate)
    difference, baseline = evidence.difference, evidence.baseline
    if difference is None or baseline is None:
        return _Decided("fail", "there is nothing to compare with")
    if evidence.better == "zero":
        return _Decided("fail", f"{gate.metric} is best at 0, so a difference has no good side: use at_most")
    if evidence.identical:
        outcome: GateOutcome = "pass" if gate.kind == "non_inferior" else "fail"
        return _Decided(outcome, "no change: both gave the same, item by item")
    if evidence.edge is not None:
        return _Decided("inconclusive", f"both are at the {evidence.edge}: these items cannot discriminate")
    if difference.value is None or difference.low is None or difference.high is None or baseline.value is None:
        return _Decided("fail", f"the difference is undefined: {difference.why_not or baseline.why_not}")
    if difference.n < gate.min_n:
        return _Decided("fail", f"{difference.n} pairs of items are fewer than the {gate.min_n} that are asked for")
    low, high, gain = difference.low, difference.high, difference.value
    if evidence.better == "lower":
        low, high, gain = -high, -low, -gain
    if gate.kind == "superior":
        outcome = "pass" if low > 0 else "fail" if high <= 0 else "inconclusive"
        why = f"the gain lies between {low:.4g} and {high:.4g}"
        return _Decided(outcome, why, abs(gain) if outcome == "inconclusive" else None)
    assert gate.margin is not None
    margin = gate.margin * abs(baseline.value) if gate.relative else gate.margin
    outcome = "pass" if low > -margin else "fail" if high <= -margin else "inconclusive"
    why = f"the gain lies between {low:.4g} and {high:.4g}; a loss of {margin:.4g} is put up with"
    return _Decided(outcome, why, abs(gain + margin) if outcome == "inconclusive" else None)


def _decide_first(gate: Gate) -> _Decided:
    """Where nothing stands at the stage yet, nothing can be worse than it; but neither can anything be better."""
    if gate.kind == "superior":
        return _Decided("fail", "nothing stands there yet to be better than: name a baseline in the policy")
    return _Decided("pass", "nothing stands there yet that it could be worse than")
