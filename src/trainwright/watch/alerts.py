"""From what a run says to what somebody should know: the rules as functions over a stream of signals.

A signal is an event of a run as it stands in `events.jsonl`, or what else there is to be told, in the same form:

    {"kind": "run-state", "status": "running", "silent_s": 3.0, "error": None}
    {"kind": "machine", "disk_free_bytes": …, "memory_available_share": …}
    {"kind": "budget", "of": "run", "budget": "hours", "band": 0.75, "spent": …, "limit": …, "unit": …}
    {"kind": "evaluation", "id": …, "metrics": {"SUITE/METRIC": 0.93, …}}
    {"kind": "decision", "id": …, "name": …, "stage": …, "outcome": "fail", "why": …}

What a signal does not hold, or holds as null, is not known, and nothing fires on it. What a detector remembers is a function
of the signals that it took, so the same stream gives the same findings.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainwright.watch import alert_rules as rules
from trainwright.watch.alert_rules import Rule, Rules, Severity

Signal = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a rule found: `key` tells apart what one rule finds about several things (a budget and its mark, a layer)."""

    rule: str
    severity: Severity
    message: str
    key: str = ""
    step: int | None = None
    value: float | None = None
    limit: float | None = None


Found = Iterator[Finding]
Detector = Callable[[Signal], Found]
"""Takes one signal after the other, and gives what it finds in each."""


class Watcher:
    """All rules that are enabled, over the signals of one run (or of the machine)."""

    def __init__(self, settings: Rules) -> None:
        self._detectors = [
            detect(rule) for name, detect in DETECTORS.items() if (rule := getattr(settings, name)).enabled
        ]

    def take(self, signal: Signal) -> list[Finding]:
        """What the rules find in the next signal."""
        return [finding for detector in self._detectors for finding in detector(signal)]


def find_all(settings: Rules, signals: Iterable[Signal]) -> list[Finding]:
    """What the rules find in a whole stream."""
    watcher = Watcher(settings)
    return [finding for signal in signals for finding in watcher.take(signal)]


# ── the course of training ────────────────────────────────────────────────────────────────────────────────────────────
def detect_non_finite(rule: rules.NonFiniteLoss) -> Detector:
    """NaN and infinity, where a number stands; what was not computed is null, and no finding."""

    def detect(signal: Signal) -> Found:
        if signal["kind"] not in ("step", "skip", "validation"):
            return
        for name in ("loss", "gradient_norm", "val_loss"):
            value = signal.get(name)
            if isinstance(value, float) and not math.isfinite(value):
                message = f"{name.replace('_', ' ')} is {value} at step {signal['step']}"
                yield _find("non-finite-loss", rule, message, signal)

    return detect


def detect_loss_explosion(rule: rules.LossExplosion) -> Detector:
    """Against the running median, which one odd step does not move."""
    losses = _Window(rule.window)

    def detect(signal: Signal) -> Found:
        loss = _number(signal, "loss") if signal["kind"] in ("step", "skip") else None
        if loss is None:
            return
        median = losses.median
        if median is not None and median > 0 and loss > rule.factor * median:
            message = f"loss {loss:.4g} at step {signal['step']} is {loss / median:.1f} times its running median"
            yield _find("loss-explosion", rule, message, signal, value=loss, limit=rule.factor * median)
        losses.add(loss)

    return detect


def detect_plateau(rule: rules.Plateau) -> Detector:
    """Once for each plateau: it has to be left before it can be found again."""
    values: list[float] = []
    state = {"is_on": False}

    def detect(signal: Signal) -> Found:
        value = _number(signal, "val_loss") if signal["kind"] == "validation" else None
        if value is None:
            return
        values.append(value)
        if len(values) <= rule.validations:
            return
        before, best = min(values[: -rule.validations]), min(values[-rule.validations :])
        is_on = best > before - abs(before) * rule.min_gain
        if is_on and not state["is_on"]:
            message = f"held-out loss has not improved on {before:.4g} for {rule.validations} validations"
            yield _find("plateau", rule, message, signal, value=best, limit=before)
        state["is_on"] = is_on

    return detect


def detect_exploding(rule: rules.ExplodingGradients) -> Detector:
    """By the run's own gradient norms, and by what its anatomy flags."""
    norms = _Window(rule.window)

    def detect(signal: Signal) -> Found:
        yield from _find_flagged("exploding", "exploding-gradients", rule, signal)
        norm = _number(signal, "gradient_norm") if signal["kind"] in ("step", "skip") else None
        if norm is None:
            return
        median = norms.median
        if median is not None and median > 0 and norm > rule.factor * median:
            message = (
                f"gradient norm {norm:.4g} at step {signal['step']} is {norm / median:.1f} times its running median"
            )
            yield _find("exploding-gradients", rule, message, signal, value=norm, limit=rule.factor * median)
        norms.add(norm)

    return detect


def detect_vanishing(rule: rules.VanishingGradients) -> Detector:
    """By the run's gradient norm, and by what its anatomy flags."""

    def detect(signal: Signal) -> Found:
        yield from _find_flagged("vanishing", "vanishing-gradients", rule, signal)
        norm = _number(signal, "gradient_norm") if signal["kind"] == "step" else None
        if norm is not None and norm < rule.limit:
            message = f"gradient norm {norm:.3g} at step {signal['step']} is below {rule.limit:g}"
            yield _find("vanishing-gradients", rule, message, signal, value=norm, limit=rule.limit)

    return detect


def detect_overfitting(rule: rules.Overfitting) -> Detector:
    """The gap between what is held out and what was just learnt."""
    losses = _Window(rule.window)

    def detect(signal: Signal) -> Found:
        if signal["kind"] == "step" and (loss := _number(signal, "loss")) is not None:
            losses.add(loss)
        held_out = _number(signal, "val_loss") if signal["kind"] == "validation" else None
        if held_out is None or not losses.values:
            return
        gap = held_out - statistics.fmean(losses.values)
        if gap > rule.gap:
            message = (
                f"held-out loss {held_out:.4g} at step {signal['step']} lies {gap:.2f} nats above the training loss"
            )
            yield _find("overfitting", rule, message, signal, value=gap, limit=rule.gap)

    return detect


def detect_throughput_drop(rule: rules.ThroughputDrop) -> Detector:
    """Steps that are slow one after the other; a single slow one means nothing. What is slow is not what is usual."""
    paces = _Window(rule.window)
    state = {"num_slow": 0}

    def detect(signal: Signal) -> Found:
        pace = _number(signal.get("timing") or {}, "tokens_per_s") if signal["kind"] == "step" else None
        if pace is None:
            return
        median = paces.median
        if median is None or pace >= rule.share * median:
            state["num_slow"] = 0
            paces.add(pace)
            return
        state["num_slow"] += 1
        if state["num_slow"] == rule.patience:
            message = f"{pace:,.0f} tokens/s at step {signal['step']}, where {median:,.0f} were usual"
            yield _find("throughput-drop", rule, message, signal, value=pace, limit=rule.share * median)

    return detect


# ── the run and the machine ───────────────────────────────────────────────────────────────────────────────────────────
def detect_stalled(rule: rules.Stalled) -> Detector:
    """A process that holds the run and says nothing; one that says something again may stall again."""

    def detect(signal: Signal) -> Found:
        silent_s = _number(signal, "silent_s") if signal["kind"] == "run-state" else None
        if silent_s is not None and signal["status"] == "running" and silent_s > rule.after_s:
            yield _find("stalled", rule, f"the run has said nothing for {silent_s:.0f} s", signal, value=silent_s)

    return detect


def detect_failed(rule: rules.FailedJob) -> Detector:
    """A run or a job that ended in an error."""

    def detect(signal: Signal) -> Found:
        if signal["kind"] == "run-state" and signal["status"] == "failed":
            yield _find("failed-job", rule, f"it failed: {signal.get('error') or 'no reason is on record'}", signal)

    return detect


def detect_full_disk(rule: rules.Disk) -> Detector:
    """Room where the workspace lies."""

    def detect(signal: Signal) -> Found:
        free = _number(signal, "disk_free_bytes") if signal["kind"] == "machine" else None
        if free is not None and free < rule.free_bytes:
            message = f"{free / 1e9:.2f} GB are free on the workspace's disk"
            yield _find("disk", rule, message, signal, value=free, limit=rule.free_bytes)

    return detect


def detect_short_memory(rule: rules.Memory) -> Detector:
    """The machine's memory."""

    def detect(signal: Signal) -> Found:
        share = _number(signal, "memory_available_share") if signal["kind"] == "machine" else None
        if share is not None and share < rule.available_share:
            message = f"{share:.1%} of the machine's memory can be had"
            yield _find("memory", rule, message, signal, value=share, limit=rule.available_share)

    return detect


def detect_budget(rule: rules.BudgetBands) -> Detector:
    """Each mark of each budget once."""

    def detect(signal: Signal) -> Found:
        if signal["kind"] != "budget":
            return
        band, what, of = signal["band"], signal["budget"], signal["of"]
        severity: Severity = rule.severity if band >= 0.9 else "low"
        message = (
            f"{band:.0%} of the {of}'s budget of {what} is spent ({signal['spent']:,.4g} of {signal['limit']:,.4g})"
        )
        message += "; the run was stopped" if signal.get("stops") else ""
        key = f"{of} {what} {band} {signal['limit']}"
        yield Finding("budget", severity, message, key, value=signal["spent"], limit=signal["limit"])

    return detect


# ── what models show ──────────────────────────────────────────────────────────────────────────────────────────────────
def detect_safety(rule: rules.SafetyBound) -> Detector:
    """Metrics of evaluations against their bounds."""

    def detect(signal: Signal) -> Found:
        if signal["kind"] != "evaluation":
            return
        for name, bound in rule.bounds.items():
            value = _number(signal["metrics"], name)
            if value is not None and value < bound:
                message = f"{name} is {value:.4g}, below its bound {bound:g}"
                yield Finding(
                    "safety-bound", rule.severity, message, f"{name} {signal['id']}", value=value, limit=bound
                )

    return detect


def detect_refusal(rule: rules.GateRefused) -> Detector:
    """Decisions that are no pass."""

    def detect(signal: Signal) -> Found:
        if signal["kind"] == "decision" and signal["outcome"] != "pass":
            message = f"{signal['name']} may not stand at {signal['stage']} ({signal['outcome']}): {signal['why']}"
            yield Finding("gate-refused", rule.severity, message, signal["id"])

    return detect


DETECTORS: dict[str, Callable[[Any], Detector]] = {
    "non_finite_loss": detect_non_finite,
    "loss_explosion": detect_loss_explosion,
    "plateau": detect_plateau,
    "exploding_gradients": detect_exploding,
    "vanishing_gradients": detect_vanishing,
    "overfitting": detect_overfitting,
    "throughput_drop": detect_throughput_drop,
    "stalled": detect_stalled,
    "failed_job": detect_failed,
    "disk": detect_full_disk,
    "memory": detect_short_memory,
    "budget": detect_budget,
    "safety_bound": detect_safety,
    "gate_refused": detect_refusal,
}
"""{field of Rules: what makes its detector}."""


@dataclass
class _Window:
    """The last finite numbers; their median, once there are `size` of them."""

    size: int
    values: deque[float] = field(default_factory=deque)

    def add(self, value: float) -> None:
        self.values.append(value)
        if len(self.values) > self.size:
            self.values.popleft()

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if len(self.values) == self.size else None


def _number(signal: Signal, name: str) -> float | None:
    """A finite number; None where there is none."""
    value = signal.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _find(
    name: str,
    rule: Rule,
    message: str,
    signal: Signal,
    *,
    key: str = "",
    value: float | None = None,
    limit: float | None = None,
) -> Finding:
    return Finding(name, rule.severity, message, key, signal.get("step"), value, limit)


def _find_flagged(flag: str, name: str, rule: Rule, signal: Signal) -> Found:
    """What the anatomy of the gradients says of single layers: "exploding layer 0"."""
    for said in signal.get("flags") or () if signal["kind"] == "anatomy" else ():
        if said.startswith(f"{flag} "):
            group = said.removeprefix(f"{flag} ")
            yield _find(name, rule, f"the gradients of {group} are {flag} at step {signal['step']}", signal, key=group)
