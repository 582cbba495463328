"""Pages of alerts: what was raised, the form that acknowledges with a reason, the channels, and the rules."""

import re
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from starlette.datastructures import URL

from trainwright.core.errors import InvalidValue, TrainwrightError
from trainwright.pipeline.alerts import ALERTS_FILE, find_settings, open_book, page_alerts, read_watched_at
from trainwright.serve.access import Operator, get_caller
from trainwright.serve.context import Opened
from trainwright.serve.pages import (
    MAX_REASON_CHARACTERS,
    build_router,
    read_form,
    read_reason,
    redirect,
    render_page,
    render_value,
)
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_book import Alert, AlertBook
from trainwright.watch.alert_rules import SEVERITIES, AlertSettings, Rule, Severity
from trainwright.watch.usage import read_now

PAGE_SIZE = 50
JOB_ID = re.compile(r"[0-9a-f]{32}")
RUN_ID = re.compile(r"[0-9a-f]{64}")
RULES_OF_MODELS = {"gate-refused": "/models/{}", "safety-bound": "/lineage?ref={}"}

router = build_router()
Form = Annotated[dict[str, str], Depends(read_form)]


@router.get("/alerts")
def show_alerts(
    request: Request,
    workspace: Opened,
    which: Annotated[Literal["open", "all"], Query()] = "open",
    severity: Annotated[Severity, Query()] = "low",
    after: str | None = None,
    done: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Alerts, newest first: those that nobody acknowledged, or all; how the channels are doing; the rules."""
    book = open_book(workspace)
    everything = book.list_alerts()
    alerts, following = page_alerts(workspace, PAGE_SIZE, after, only_open=which == "open", at_least=severity)
    settings, refusal = _find_settings(workspace)
    channels = _list_channels(book, settings)
    older = URL("/alerts").include_query_params(which=which, severity=severity, after=following)
    values = {
        "alerts": [(alert, _find_address(alert)) for alert in alerts],
        "counts": _count_open(everything),
        "older": older if following else None,
        "which": which,
        "severity": severity,
        "severities": SEVERITIES,
        "done": next((one for one in everything if done and one.id == done), None),
        "is_filtered": severity != "low" or after is not None,
        "channels": channels,
        "dead": [one for one in channels if one["status"] == "dead"],
        "rules": [] if settings is None else _list_rules(settings),
        "delivery": None if settings is None else settings.delivery,
        "refusal": refusal,
        "file": ALERTS_FILE,
        "has_file": (workspace.root / ALERTS_FILE).is_file(),
        "watched_at": read_watched_at(workspace),
        "may_operate": get_caller(request).may("operator"),
        "max_reason": MAX_REASON_CHARACTERS,
    }
    return render_page(request, "alerts.html.j2", values, title="Alerts")


@router.post("/alerts/{alert_id}/acknowledge")
def acknowledge(workspace: Opened, caller: Operator, form: Form, alert_id: str) -> Response:
    """Say that somebody has seen it, and what was found or done: it is not sent again."""
    if not RUN_ID.fullmatch(alert_id):
        raise InvalidValue(f"{alert_id[:64]!r} names no alert.", why="An alert's id has 64 digits.")
    alert = open_book(workspace).acknowledge(alert_id, caller.name, read_now(), read_reason(form))
    return redirect(f"/alerts?done={alert.id}")


# ── what the page says ────────────────────────────────────────────────────────────────────────────────────────────────
def _find_settings(workspace: Workspace) -> tuple[AlertSettings | None, TrainwrightError | None]:
    """The rules and channels, or what is wrong with their file: that is said in its place, and the alerts are shown."""
    try:
        return find_settings(None, workspace), None
    except TrainwrightError as error:
        return None, error


def _count_open(alerts: list[Alert]) -> dict[Severity, int]:
    """How many that nobody acknowledged, the most serious first."""
    waiting = [alert.severity for alert in alerts if alert.acknowledged_at is None]
    return {severity: waiting.count(severity) for severity in reversed(SEVERITIES)}


def _find_address(alert: Alert) -> str | None:
    """The page of what an alert is about; None where there is none, as for the machine."""
    if alert.rule in RULES_OF_MODELS:
        return RULES_OF_MODELS[alert.rule].format(alert.subject)
    if RUN_ID.fullmatch(alert.subject):
        return f"/runs/{alert.subject}"
    if JOB_ID.fullmatch(alert.subject):
        return f"/jobs/{alert.subject}"
    return "#channels" if alert.rule == "channel-dead" else None


def _list_channels(book: AlertBook, settings: AlertSettings | None) -> list[dict[str, Any]]:
    """Those of the alert file and those that were ever used; of where they lead, which may be a secret, nothing is told."""
    states = {state.name: state for state in book.list_channels()}
    configured = {} if settings is None else settings.channels
    waiting = [item.channel_name for _, item in book.list_items()]
    return [
        {
            "name": name,
            "kind": configured[name].kind if name in configured else states[name].kind,
            "at_least": configured[name].at_least if name in configured else None,
            "status": states[name].status if name in states else "not used yet",
            "state": states.get(name),
            "num_waiting": waiting.count(name),
        }
        for name in sorted({*configured, *states, *waiting})
        if name in configured or name in states
    ]


def _list_rules(settings: AlertSettings) -> list[dict[str, Any]]:
    """Every rule as it is set."""
    rules: list[dict[str, Any]] = []
    for field in type(settings.rules).model_fields:
        rule: Rule = getattr(settings.rules, field)
        own = [key for key in type(rule).model_fields if key not in Rule.model_fields]
        rules.append(
            {
                "name": field.replace("_", "-"),
                "what": (type(rule).__doc__ or "").strip(),
                "severity": rule.severity,
                "enabled": rule.enabled,
                "settings": [(key, render_value(getattr(rule, key))) for key in own],
                "cooldown_s": rule.cooldown_s,
            }
        )
    return rules
