"""Pages of models: where each stands, the gates' decisions, and the forms that promote and roll back, with a reason."""

from typing import Annotated, Any

from fastapi import Depends, Request, Response

from trainwright.core.errors import InvalidValue
from trainwright.core.records import STAGES, Decision, Estimate, Evaluation, Gate, GateResult, Policy, Stage
from trainwright.pipeline.decide import decide
from trainwright.pipeline.keys import find_keys
from trainwright.pipeline.models import list_models, show_model
from trainwright.pipeline.promote import find_decision, promote, roll_back
from trainwright.release.policy import SHIPPED, open_policy
from trainwright.release.registry import list_revisions, name_ref, parse_stage, read_current
from trainwright.serve.access import Approver, Operator, get_caller
from trainwright.serve.context import Opened
from trainwright.serve.drawing import IntervalDrawing, draw_intervals
from trainwright.serve.pages import (
    MAX_REASON_CHARACTERS,
    build_router,
    read_form,
    read_reason,
    redirect,
    render_page,
    require_field,
)
from trainwright.serve.pages_evaluations import name_model
from trainwright.store.workspace import Workspace
from trainwright.watch.report import render_label, render_number

MAX_DECISIONS = 20
MAX_LOOKED_AT = 500

router = build_router()
Form = Annotated[dict[str, str], Depends(read_form)]


@router.get("/models")
def show_models(request: Request, workspace: Opened) -> Response:
    """Every name, and what stands at its places."""
    names: dict[str, dict[str, Any]] = {}
    for row in list_models(workspace):
        names.setdefault(row["name"], {})[row["stage"]] = row
    return render_page(request, "models.html.j2", {"names": names, "places": ("latest", *STAGES)}, title="Models")


@router.get("/models/{name}")
def show_one(request: Request, workspace: Opened, name: str) -> Response:
    """One name: its places, the decisions about it, its history, and the forms."""
    document = show_model(name, workspace)
    bare = document["name"]
    stages = [_describe_stage(bare, stage, workspace) for stage in STAGES]
    values = {
        "name": bare,
        "places": document["places"],
        "stages": stages,
        "decisions": _list_decisions(bare, workspace),
        "moves": [move for move in document["history"] if move["ref"].endswith("@latest")],
        "may_promote": get_caller(request).may("approver"),
        "may_ask": get_caller(request).may("operator"),
        "max_reason": MAX_REASON_CHARACTERS,
    }
    return render_page(request, "model.html.j2", values, title=bare)


@router.get("/decisions/{ref}")
def show_decision(request: Request, workspace: Opened, ref: str) -> Response:
    """One decision: every gate with the intervals that it looked at."""
    decision = find_decision(ref, workspace)
    policy = workspace.ledger.get(decision.policy)
    evaluations = [workspace.ledger.get(one) for one in decision.evaluations]
    values = {
        "decision": decision,
        "policy": policy,
        "gates": [_describe_gate(result) for result in decision.gates],
        "drawings": _draw_figures(decision),
        "evaluations": [(one, name_model(one, workspace)) for one in evaluations if isinstance(one, Evaluation)],
    }
    return render_page(request, "decision.html.j2", values, title=f"Decision about {decision.name}@{decision.stage}")


# ── what changes something ────────────────────────────────────────────────────────────────────────────────────────────
@router.post("/models/{name}/{stage}/gate")
def ask_gates(workspace: Opened, caller: Operator, form: Form, name: str, stage: str) -> Response:
    """Judge a candidate by a policy: a shipped one, or one that was used here before."""
    wanted = parse_stage(stage)
    candidate = require_field(form, "ref", "a candidate")
    decision = decide(name, wanted, candidate, _find_policy(form, wanted, workspace), workspace, who=caller.name)
    return redirect(f"/decisions/{decision.id}")


@router.post("/models/{name}/{stage}/promote")
def promote_model(workspace: Opened, caller: Approver, form: Form, name: str, stage: str) -> Response:
    """Let what was decided on stand at a stage; or what is named, by an override, for the reason that is given."""
    reason = read_reason(form)
    promote(
        name,
        parse_stage(stage),
        workspace,
        who=caller.name,
        why=reason,
        ref=form.get("ref", "").strip() or None,
        override=form.get("override") == "yes",
        keys=find_keys(),
    )
    return redirect(f"/models/{name}")


@router.post("/models/{name}/{stage}/rollback")
def roll_model_back(workspace: Opened, caller: Approver, form: Form, name: str, stage: str) -> Response:
    """Let what stood there before stand there again."""
    chosen = form.get("to", "").strip()
    if chosen and not chosen.isdecimal():
        raise InvalidValue(f"{chosen[:40]!r} is no revision.", why="Revisions are numbered from 1.")
    to = int(chosen) if chosen else None
    roll_back(name, parse_stage(stage), workspace, who=caller.name, why=read_reason(form), to=to)
    return redirect(f"/models/{name}")


def _find_policy(form: dict[str, str], stage: Stage, workspace: Workspace) -> Policy:
    chosen = form.get("policy", "") or stage
    if chosen in SHIPPED:
        return open_policy(chosen)
    record = workspace.ledger.get(workspace.ledger.resolve(chosen))
    if not isinstance(record, Policy):
        raise InvalidValue(f"{chosen[:40]!r} is no policy.", why=f"It names a {record.kind}.")
    return record


# ── what a page says ──────────────────────────────────────────────────────────────────────────────────────────────────
def _describe_stage(name: str, stage: Stage, workspace: Workspace) -> dict[str, Any]:
    revisions = list_revisions(name, stage, workspace.ledger)
    current = read_current(name, stage, workspace.ledger)
    policies = [
        stored.record
        for stored in workspace.ledger.find("policy", 100)
        if isinstance(stored.record, Policy) and stored.record.stage == stage
    ]
    return {
        "stage": stage,
        "ref": name_ref(name, stage),
        "current": current,
        "revisions": list(reversed(revisions)),
        "can_go_back": current is not None and current.previous is not None,
        "policies": policies,
    }


def _list_decisions(name: str, workspace: Workspace) -> list[dict[str, Any]]:
    """The newest decisions about a name, with their gates."""
    records = (stored.record for stored in workspace.ledger.find("decision", MAX_LOOKED_AT))
    found = [one for one in records if isinstance(one, Decision) and one.name == name][:MAX_DECISIONS]
    return [{"decision": one, "gates": [_describe_gate(result) for result in one.gates]} for one in found]


def _draw_figures(decision: Decision) -> list[tuple[str, IntervalDrawing]]:
    """(title, drawing) of all figures that were judged; only what shares a metric and a limit shares an axis."""
    axes: dict[tuple[str, float | None], list[tuple[str, Estimate | None]]] = {}
    for result in decision.gates:
        gate, of = result.gate, f"{result.gate.suite} {result.part}".strip()
        metric = render_label(gate.metric)
        figures = axes.setdefault((_title(metric, gate.limit, "limit"), gate.limit), [])
        figures += [(f"{of}: candidate", result.candidate), (f"{of}: baseline", result.baseline)]
        margin = _find_margin(gate)
        differences = axes.setdefault((_title(f"{metric}, candidate less baseline", margin, "margin"), margin), [])
        differences.append((f"{of}: difference", result.difference))
    drawings = [(title, draw_intervals(figures, line)) for (title, line), figures in axes.items()]
    return [(title, drawing) for title, drawing in drawings if drawing is not None]


def _title(what: str, line: float | None, name: str) -> str:
    return what if line is None else f"{what}; the line is the {name}, {render_number(line)}"


def _find_margin(gate: Gate) -> float | None:
    """What a difference is held against; None where that depends on the baseline."""
    if gate.margin is None or gate.relative:
        return None
    return -gate.margin if gate.kind == "non_inferior" else 0.0


def _describe_gate(result: GateResult) -> dict[str, Any]:
    """A gate with what it asked for, and the estimate that it looked at, drawn against its limit."""
    gate = result.gate
    compares = gate.kind in ("non_inferior", "superior")
    if compares:
        drawing = draw_intervals([("difference from the baseline", result.difference)], _find_margin(gate))
    else:
        drawing = draw_intervals([("candidate", result.candidate)], gate.limit)
    wanted = {
        "at_least": f"at least {gate.limit:g}" if gate.limit is not None else "",
        "at_most": f"at most {gate.limit:g}" if gate.limit is not None else "",
        "non_inferior": f"no worse by {gate.margin:g}{' of it' if gate.relative else ''}"
        if gate.margin is not None
        else "",
        "superior": "better than the baseline",
    }[gate.kind]
    return {
        "result": result,
        "wanted": wanted,
        "drawing": drawing,
        "drawn": "the difference, against the margin" if compares else "the candidate, against the limit",
    }
