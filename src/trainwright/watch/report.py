"""`report.html`: everything about a run on one self-contained page that makes no request."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from trainwright.core.records import Check, DatasetVersion, Frozen, Measure, Plan, Report, Run, Tokenizer, TokenSet
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.layers import build_layers
from trainwright.watch.plots import draw_learning_rate, draw_loss_curve, render_svg
from trainwright.watch.progress import render_duration

WIDE_IN = 8.6
NARROW_IN = 3.9
MAX_RATE_ROWS = 24

ACRONYMS = frozenset({"cpu", "gpu", "rss"})

UNITS_BY_SUFFIX = {"_ms": "ms", "_s": "s", "_bytes": "bytes", "_mb": "MB", "_per_s": "/s"}


class Command(Frozen):
    """One line of "how to reproduce": what it does, and what to type."""

    purpose: str
    command: str


def render_report(
    *,
    run: Run,
    plan: Plan,
    status: str,
    dataset: DatasetVersion,
    tokenizer: Tokenizer,
    token_set: TokenSet,
    report: Report | None,
    events: Sequence[Event],
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
    lineage: str,
    choice: Mapping[str, Any] | None,
    commands: Sequence[Command],
    attempts: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as one string of HTML; every text in it is escaped, for a sample may hold anything.

    `metrics` is what `build_training_metrics` made, `environment` what `read_environment` read, `lineage` a text tree.
    `choice` tells how the compute was chosen: {"why": text, "candidates": [{column: value, …, "chosen": bool}, …]}, the
    columns in the order of the first candidate; None where the plan was pinned and nothing was measured. `report` None
    (a run that did not come to its validation) leaves the held-out numbers "not measured". `attempts` are the lines of
    `attempts.jsonl`: who worked on the run from which step, and what was wrong with what was found.
    """
    page: str = open_template("report.html.j2").render(
        style=read_style(),
        run=run,
        plan=plan,
        status=status,
        dataset=dataset,
        tokenizer=tokenizer,
        token_set=token_set,
        headline=_build_headline(report),
        checks=[_build_check_row(check) for check in report.checks] if report else [],
        samples=_build_samples(report, metrics),
        history=metrics["epoch_history"],
        final=metrics["final_metrics"],
        phases=metrics["phases"],
        curves=_draw_curves(events),
        rates=_pick_rates(events),
        layers=build_layers(events),
        setbacks=[_build_setback(event) for event in events if event["kind"] in ("skip", "rollback")],
        attempts=[_build_attempt(attempt) for attempt in attempts],
        facts=_build_plan_facts(plan),
        choice=None if choice is None else _build_choice(choice),
        environment=_build_environment(environment),
        lineage=lineage,
        commands=commands,
    )
    return page


def open_template(name: str) -> Any:
    """A page's template with the filters that all pages share; every text put into it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=render_number,
        duration=render_duration,
        moment=render_moment,
        bytes=render_bytes,
        short=lambda digest: digest[:12],
    )
    source = resources.files("trainwright.watch").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(source)


def read_style() -> str:
    """The style sheet of all pages: light and dark, wide and narrow, and for paper."""
    return resources.files("trainwright.watch").joinpath("page.css").read_text(encoding="utf-8")


# ── numbers as text ───────────────────────────────────────────────────────────────────────────────────────────────────
def render_number(value: object, decimals: int | None = None) -> str:
    """A number as people read it: thousands apart, `decimals` places or four significant digits; "–" for None."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not is_finite_number(value):
        return {"nan": "NaN", "inf": "∞", "-inf": "−∞"}[str(float(value))]
    if isinstance(value, int) and decimals is None:
        return f"{value:,}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def render_bytes(num_bytes: float) -> str:
    """Bytes in the decimal units that budgets are written in: 9.5 MB."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def render_quantity(value: float, unit: str) -> str:
    """A number with its unit; "bytes" becomes MB."""
    if unit == "bytes" and is_finite_number(value):
        return render_bytes(value)
    return f"{render_number(value)} {unit}".rstrip()


def render_measure(measure: Measure) -> str:
    """A measurement with its unit, or "not measured: …"."""
    if measure.value is None:
        return f"not measured: {measure.why_not}"
    return render_quantity(measure.value, measure.unit)


def render_label(name: str) -> str:
    """A key as words: `latency_p95_ms` → "latency p95"; the unit stands beside the number."""
    for suffix in sorted(UNITS_BY_SUFFIX, key=len, reverse=True):
        if name.endswith(suffix):
            name = name.removesuffix(suffix) + ("/s" if suffix == "_per_s" else "")
            break
    words = name.removeprefix("num_").replace("_", " ").replace("-", " ").split()
    return " ".join(word.upper() if word in ACRONYMS else word for word in words)


def render_moment(moment: str) -> str:
    """An ISO 8601 time as "31 January 2025, 11:59 UTC"; one without a zone is shown as it is."""
    parsed = datetime.fromisoformat(moment)
    if parsed.tzinfo is None:
        return moment
    universal = parsed.astimezone(UTC)
    return f"{universal.day} {universal:%B %Y, %H:%M} UTC"


# ── parts of the page ─────────────────────────────────────────────────────────────────────────────────────────────────
HEADLINE = (
    ("bits_per_byte", "held-out bits per byte", "lower is better", 3, 1.0, ""),
    ("perplexity", "held-out perplexity", "per token, lower is better", 2, 1.0, ""),
    ("accuracy", "next-token accuracy", "held out, higher is better", 1, 100.0, " %"),
)


def _build_headline(report: Report | None) -> list[dict[str, str]]:
    """The three held-out numbers that are seen first, or why there are none."""
    cards = []
    for name, label, note, decimals, factor, sign in HEADLINE:
        measure = report.metrics.get(name) if report else None
        if measure is None:
            measure = Measure(value=None, why_not="validation did not run" if report is None else "not asked for")
        if measure.value is None:
            cards.append({"label": label, "value": "not measured", "note": measure.why_not})
        else:
            value = render_number(measure.value * factor, decimals) + sign
            cards.append({"label": label, "value": value, "note": note})
    return cards


def _build_check_row(check: Check) -> dict[str, str]:
    """One row of the validation table, its verdict in words."""
    if check.passed is None:
        verdict = "not measured" if check.measured.value is None else "no limit"
    else:
        verdict = "pass" if check.passed else "fail"
    return {
        "name": render_label(check.name),
        "measured": "–" if check.measured.value is None else render_measure(check.measured),
        "limit": "–" if check.limit is None else render_quantity(check.limit, check.measured.unit),
        "verdict": verdict,
        "why": check.why or check.measured.why_not,
    }


def _build_samples(report: Report | None, metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the finished model wrote; without a report, what was written beside the last validation."""
    if report is not None:
        return [{"prompt": sample.prompt, "text": sample.text} for sample in report.samples]
    rows = [row for row in metrics["epoch_history"] if row["sample_outputs"]]
    return list(rows[-1]["sample_outputs"]) if rows else []


def _draw_curves(events: Sequence[Event]) -> dict[str, str]:
    """Each curve twice, for wide and for narrow screens: a drawing that shrinks takes its lettering with it."""
    return {
        "loss_wide": render_svg(draw_loss_curve(events, WIDE_IN, 3.7), "loss-wide", "Loss by step"),
        "loss_narrow": render_svg(draw_loss_curve(events, NARROW_IN, 3.4), "loss-narrow", "Loss by step"),
        "rate_wide": render_svg(draw_learning_rate(events, WIDE_IN, 2.0), "rate-wide", "Learning rate by step"),
        "rate_narrow": render_svg(draw_learning_rate(events, NARROW_IN, 2.2), "rate-narrow", "Learning rate by step"),
    }


def _build_setback(event: Event) -> dict[str, Any]:
    """A skip or a rollback as a row: at which step, what was done, why, and the numbers that it was judged by."""
    if event["kind"] == "skip":
        return {"step": event["step"], "what": "skipped", "why": event["reason"], "event": event}
    factor = render_number(event["rate_factor"])
    what = f"rolled back to step {event['to_step']:,}, rates × {factor} from there"
    return {"step": event["step"], "what": what, "why": event["reason"], "event": event}


def _build_attempt(attempt: Mapping[str, Any]) -> dict[str, str]:
    """A line of `attempts.jsonl` as a row: when, and what happened."""
    if "problem" in attempt:
        return {"at": attempt["at"], "what": attempt["problem"], "why": attempt.get("why", ""), "verdict": "set aside"}
    from_step = attempt.get("from_step")
    begun = f"went on from step {from_step:,}" if from_step else "began"
    changes = [f"{change['name']}: {change['before']} → {change['now']}" for change in attempt.get("changes", ())]
    why = f"changed since then: {'; '.join(changes)}" if changes else ""
    return {"at": attempt["at"], "what": begun, "why": why, "verdict": "resumed" if from_step else "started"}


def _pick_rates(events: Sequence[Event]) -> list[Event]:
    """Evenly spaced steps for the learning-rate table, the first and the last among them."""
    steps = [event for event in leave_out_undone(events) if event["kind"] == "step"]
    if len(steps) <= MAX_RATE_ROWS:
        return steps
    return [steps[round(index * (len(steps) - 1) / (MAX_RATE_ROWS - 1))] for index in range(MAX_RATE_ROWS)]


def _build_plan_facts(plan: Plan) -> list[tuple[str, list[tuple[str, str]]]]:
    """The plan as titled groups of (label, value). Every number of it is there: a report one cannot re-run is none."""
    training = plan.training.model_dump(mode="json")
    optimizer, schedule = training.pop("optimizer"), training.pop("schedule")
    stopping, stability = training.pop("early_stopping"), training.pop("stability", None)
    prompts = training.pop("sample_prompts")
    model: dict[str, Any] = {"num_parameters": plan.model.num_parameters, **plan.model.model_dump(mode="json")}
    training |= {f"early_stopping_{key}": value for key, value in stopping.items()}
    training |= {f"stability_{key}": value for key, value in (stability or {}).items()}
    training |= {"sample_prompts": " · ".join(prompts) or None, "seed": plan.seed}
    groups = {
        "Model": model,
        "Training": training,
        "Optimizer": optimizer,
        "Schedule": schedule,
        "Compute": plan.compute.model_dump(mode="json"),
    }
    facts = [(title, [_build_fact(key, value) for key, value in group.items()]) for title, group in groups.items()]
    limits = plan.budgets.model_dump(mode="json").items()
    budgets = [(render_label(key), "none" if limit is None else _render_cell(key, limit)) for key, limit in limits]
    return [*facts, ("Budgets", budgets)]


def _build_fact(key: str, value: object) -> tuple[str, str]:
    label = " ".join(key.removeprefix("num_").split("_"))
    if isinstance(value, bool):
        return label, "yes" if value else "no"
    if key == "seed":  # a name more than a quantity
        return label, str(value)
    # A small float as JSON has it (1e-08), not rounded: this is the setting, not a measurement.
    return label, f"{value:g}" if isinstance(value, float) else render_number(value)


def _build_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The candidates as a table: the columns of all of them, in the order they are first met."""
    candidates = list(choice.get("candidates", ()))
    columns = list(dict.fromkeys(key for candidate in candidates for key in candidate if key != "chosen"))
    rows = [
        {
            "chosen": bool(candidate.get("chosen")),
            "cells": [_render_cell(column, candidate.get(column)) for column in columns],
        }
        for candidate in candidates
    ]
    return {"why": choice.get("why", ""), "columns": [render_label(column) for column in columns], "rows": rows}


def _render_cell(column: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        suffix = next((each for each in ("_per_s", "_bytes", "_ms", "_s") if column.endswith(each)), "")
        return render_quantity(value, "" if suffix == "_per_s" else UNITS_BY_SUFFIX.get(suffix, ""))
    return render_number(value)


def _build_environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment as (label, text) rows; nested facts are flattened, and a missing one says why."""
    rows: list[tuple[str, str]] = []
    for key, value in environment.items():
        if not isinstance(value, Mapping):
            rows.append(
                (render_label(key), render_bytes(value) if key.endswith("_bytes") and value else _as_text(value))
            )
        elif key == "git":
            rows.append(("git commit", _render_git(value)))
        elif key == "packages":
            rows.append((key, " · ".join(f"{name} {version or 'not installed'}" for name, version in value.items())))
        elif key == "variables":
            rows.append((key, " · ".join(f"{name}={text}" for name, text in value.items()) or "none is set"))
        else:
            rows.append((render_label(key), _render_nested(value)))
    return rows


def _render_git(git: Mapping[str, Any]) -> str:
    if git.get("sha") is None:
        return f"none: {git.get('why_not', '')}"
    state = {True: "with uncommitted changes", False: "clean", None: "unknown whether clean"}[git.get("dirty")]
    return f"{git['sha']} ({state})"


def _render_nested(facts: Mapping[str, Any]) -> str:
    why_not = facts.get("why_not")
    if why_not:
        return str(why_not)
    parts = (f"{render_label(key)} {_as_text(value)}" for key, value in facts.items() if key != "why_not")
    return " · ".join(parts) or "none"


def _as_text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return " ".join(_as_text(item) for item in value) or "none"
    return render_number(value) if isinstance(value, float) else str(value)
