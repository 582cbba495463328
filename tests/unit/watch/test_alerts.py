"""Every rule fires on what it is for, and on nothing else; a missing value fires nothing."""

import math

import pytest

from trainwright.core.errors import InvalidValue, UnknownKey
from trainwright.watch.alert_rules import AlertSettings, Rules, open_alert_settings
from trainwright.watch.alerts import DETECTORS, find_all
from trainwright.watch.settings_file import parse_settings


def step(number, **facts):
    base = {"loss": 2.0, "gradient_norm": 1.0, "timing": {"tokens_per_s": 1000.0}}
    return {"kind": "step", "step": number, **base | facts}


def steps(count, **facts):
    return [step(number, **facts) for number in range(1, count + 1)]


def validations(*losses):
    return [{"kind": "validation", "step": number, "val_loss": loss} for number, loss in enumerate(losses, start=1)]


def run_state(**facts):
    return {"kind": "run-state", **{"status": "running", "silent_s": 1.0, "error": None} | facts}


def machine(**facts):
    return {"kind": "machine", **{"disk_free_bytes": 10**12, "memory_available_share": 0.5} | facts}


def budget(band):
    return {
        "kind": "budget",
        "of": "run",
        "budget": "hours",
        "band": band,
        "spent": band * 2,
        "limit": 2.0,
        "stops": band == 1,
    }


def decision(outcome):
    return {"kind": "decision", "id": "d", "name": "m", "stage": "staging", "outcome": outcome, "why": "sums: too low"}


def evaluation(value):
    return {"kind": "evaluation", "id": "e", "metrics": {"safety/refused": value}}


SLOW = {"timing": {"tokens_per_s": 100.0}}
BOUNDED = {"safety-bound": {"bounds": {"safety/refused": 0.9}}}

FIRES = [
    ("non-finite-loss", [step(1, loss=math.nan)]),
    ("non-finite-loss", [{"kind": "skip", "step": 3, "loss": math.inf, "gradient_norm": None}]),
    ("non-finite-loss", validations(math.nan)),
    ("loss-explosion", [*steps(50), step(51, loss=6.1)]),
    ("plateau", validations(3.0, 2.9999, 3.0, 3.0, 3.0, 3.0)),
    ("exploding-gradients", [*steps(50), step(51, gradient_norm=10.1)]),
    ("exploding-gradients", [{"kind": "anatomy", "step": 5, "flags": ["exploding layer 0"]}]),
    ("vanishing-gradients", [step(1, gradient_norm=1e-7)]),
    ("vanishing-gradients", [{"kind": "anatomy", "step": 5, "flags": ["vanishing layer 3"]}]),
    ("overfitting", [*steps(3), *validations(2.6)]),
    ("throughput-drop", [*steps(50), *(step(number, **SLOW) for number in range(51, 61))]),
    ("stalled", [run_state(silent_s=901.0)]),
    ("failed-job", [run_state(status="failed", error="non-finite-loss: it was NaN")]),
    ("disk", [machine(disk_free_bytes=1)]),
    ("memory", [machine(memory_available_share=0.01)]),
    ("budget", [budget(0.5)]),
    ("safety-bound", [evaluation(0.89)]),
    ("gate-refused", [decision("fail")]),
    ("gate-refused", [decision("inconclusive")]),
]

DOES_NOT_FIRE = [
    ("non-finite-loss", [*steps(3), *validations(2.0)]),
    ("loss-explosion", [*steps(50), step(51, loss=5.9)]),
    ("loss-explosion", [*steps(49), step(50, loss=100.0)]),
    ("plateau", validations(3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4)),
    ("plateau", validations(3.0, 3.0, 3.0, 3.0, 3.0)),
    ("exploding-gradients", [*steps(50), step(51, gradient_norm=9.0)]),
    ("vanishing-gradients", steps(3)),
    ("overfitting", [*steps(3), *validations(2.4)]),
    ("overfitting", validations(9.0)),
    ("throughput-drop", [*steps(50), *(step(number, **SLOW) for number in range(51, 60)), step(60)]),
    ("stalled", [run_state(silent_s=899.0), run_state(status="stopped", silent_s=9e9)]),
    ("failed-job", [run_state(), run_state(status="completed"), run_state(status="stopped")]),
    ("disk", [machine()]),
    ("memory", [machine()]),
    ("budget", steps(2)),
    ("safety-bound", [evaluation(0.9)]),
    ("gate-refused", [decision("pass")]),
]

UNKNOWN = [
    step(1, loss=None, gradient_norm=None, timing={"tokens_per_s": None}),
    {"kind": "step", "step": 2},
    {"kind": "skip", "step": 3, "reason": "barred", "loss": None, "gradient_norm": None},
    *validations(*[None] * 9),
    {"kind": "anatomy", "step": 4, "flags": None},
    run_state(silent_s=None),
    machine(disk_free_bytes=None, memory_available_share=None),
    {"kind": "machine"},
    evaluation(None),
    {"kind": "evaluation", "id": "e", "metrics": {}},
]


def found_by(rule, signals):
    return [finding for finding in find_all(Rules.model_validate(BOUNDED), signals) if finding.rule == rule]


@pytest.mark.parametrize(("rule", "signals"), FIRES)
def test_a_rule_fires_once_on_what_it_is_for(rule, signals):
    (finding,) = found_by(rule, signals)
    assert finding.message


@pytest.mark.parametrize(("rule", "signals"), DOES_NOT_FIRE)
def test_a_rule_does_not_fire_on_what_is_well(rule, signals):
    assert found_by(rule, signals) == []


def test_a_missing_value_fires_nothing():
    assert find_all(Rules.model_validate(BOUNDED), UNKNOWN) == []


@pytest.mark.parametrize(("rule", "signals"), FIRES)
def test_a_rule_that_is_switched_off_finds_nothing(rule, signals):
    rules = Rules.model_validate(BOUNDED | {rule: {"enabled": False}})
    assert [finding for finding in find_all(rules, signals) if finding.rule == rule] == []


def test_every_rule_is_tested_both_ways_and_has_a_detector():
    names = {name.replace("_", "-") for name in Rules.model_fields}
    assert {rule for rule, _ in FIRES} == names
    assert {rule for rule, _ in DOES_NOT_FIRE} == names
    assert {name.replace("_", "-") for name in DETECTORS} == names


def test_a_plateau_is_told_once_until_it_was_left():
    again = validations(3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2)
    assert len(found_by("plateau", again)) == 2


def test_late_marks_of_a_budget_are_serious_and_early_ones_are_not():
    severities = [finding.severity for band in (0.5, 0.75, 0.9, 1.0) for finding in found_by("budget", [budget(band)])]
    assert severities == ["low", "low", "high", "high"]


def test_a_slow_stretch_is_told_once_and_does_not_become_what_is_usual():
    slow = [step(number, **SLOW) for number in range(51, 200)]
    assert len(found_by("throughput-drop", [*steps(50), *slow])) == 1


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_comes_along_has_every_rule_and_the_console():
    settings = open_alert_settings("default")
    assert settings.rules == Rules()
    assert list(settings.channels) == ["console"]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("rules: {loss-explosoin: {factor: 4}}", "loss-explosion"),
        ("rules: {loss-explosion: {factr: 4}}", "factor"),
        ("channels: {ops: {kind: webhook, url: 'http://x', secret: y}}", "secret_env"),
        ("delivery: {cooldown: 3}", "cooldown_s"),
    ],
)
def test_a_wrong_key_is_refused_with_the_nearest_that_there_is(text, near):
    with pytest.raises(UnknownKey) as caught:
        parse_settings(text, AlertSettings, "The alert file a.yaml")
    assert near in caught.value.why


@pytest.mark.parametrize(
    "text",
    [
        "rules: {loss-explosion: {factor: 0.5}}",
        "rules: {disk: {severity: fatal}}",
        "channels: {ops: {kind: pigeon}}",
        "channels: {ops: {kind: webhook, url: 'ftp://x', secret_env: X}}",
        "channels: {'../up': {kind: console}}",
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(text):
    with pytest.raises(InvalidValue):
        parse_settings(text, AlertSettings, "The alert file a.yaml")
