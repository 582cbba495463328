"""The report page: self-contained, escaped, and silent about nothing."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from trainwright.core.records import DatasetVersion, Measure, Plan, Report, Run, Sample, Tokenizer, TokenSet
from trainwright.watch.metrics_file import Phase, build_training_metrics
from trainwright.watch.report import (
    Command,
    render_bytes,
    render_label,
    render_measure,
    render_moment,
    render_number,
    render_report,
)

VOID = {"meta", "br", "hr", "img", "input", "link", "use", "path", "circle", "line"}


class Page(HTMLParser):
    """What a browser would find: tags in balance, the text, and every address that might be fetched."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [
            value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "action", "data")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "  # cells stand apart


@pytest.fixture
def parts(
    run_record: Run,
    plan: Plan,
    dataset: DatasetVersion,
    tokenizer: Tokenizer,
    token_set: TokenSet,
    report_record: Report,
    events: list[dict[str, Any]],
) -> dict[str, Any]:
    environment = {
        "trainwright": "0.1.0",
        "git": {"sha": "a" * 40, "dirty": True, "why_not": ""},
        "packages": {"numpy": "2.0.0", "nope_s": None},
        "cpu": {"model": "a processor", "num_usable": 2, "why_not": ""},
        "memory_bytes": 16_000_000_000,
        "memory_limit_bytes": None,
        "gpu": {"name": None, "why_not": "not measured: no framework was asked for one"},
        "variables": {"OMP_NUM_THREADS": "2"},
    }
    phases = [Phase(name="training", status="completed", elapsed_s=10.0)]
    return {
        "run": run_record,
        "plan": plan,
        "status": "completed",
        "dataset": dataset,
        "tokenizer": tokenizer,
        "token_set": token_set,
        "report": report_record,
        "events": events,
        "metrics": build_training_metrics(
            run_record, plan, environment, events, phases, report_record.checks, report_record.metrics
        ),
        "environment": environment,
        "lineage": "run abc\n└─ plan def",
        "choice": {
            "why": "It ends soonest.",
            "candidates": [
                {"dtype": "float32", "compile": False, "tokens_per_s": 24_010.2, "step_ms": 99.5, "chosen": False},
                {"dtype": "bfloat16", "compile": True, "tokens_per_s": 40_210.9, "compile_s": 14.4, "chosen": True},
            ],
        },
        "commands": [Command(purpose="Again", command='trainwright generate x@latest "Once"')],
    }


def test_the_first_thing_seen_is_held_out_quality(parts: dict[str, Any]) -> None:
    page = Page(render_report(**parts))
    assert page.open == []
    words = " ".join(page.text.split())
    assert words.index("held-out bits per byte 0.742") < words.index("Validation Each check")
    assert "held-out perplexity 7.83" in words
    assert "next-token accuracy 51.2 %" in words


def test_the_page_fetches_nothing(parts: dict[str, Any]) -> None:
    html = render_report(**parts)
    page = Page(html)
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_every_text_is_escaped(parts: dict[str, Any]) -> None:
    attack = "<script>alert(1)</script><!-- </table> & \" '"
    parts["report"] = parts["report"].model_copy(update={"samples": (Sample(prompt=attack, text=attack),)})
    parts["dataset"] = parts["dataset"].model_copy(update={"source": attack})
    parts["run"] = parts["run"].model_copy(update={"name": attack})
    parts |= {"lineage": attack, "status": attack, "choice": {"why": attack, "candidates": [{attack: attack}]}}
    parts["environment"] = {"hostname": attack, "variables": {attack: attack}}
    parts["commands"] = [Command(purpose=attack, command=attack)]
    page = Page(render_report(**parts))
    assert "script" not in page.tags
    assert page.open == []
    assert page.text.count("<script>alert(1)</script>") >= 10


def test_verdicts_stand_in_words_and_a_missing_one_says_why(parts: dict[str, Any]) -> None:
    words = " ".join(Page(render_report(**parts)).text.split())
    assert "latency p95 pass 93.2 ms 250 ms" in words
    assert "model file fail 11.0 MB 10.0 MB" in words
    assert "training peak not measured – 512.0 MB the run was resumed, so no process saw all of it" in words


def test_curves_are_drawn_and_also_told_as_tables(parts: dict[str, Any]) -> None:
    html = render_report(**parts)
    page = Page(html)
    assert page.tags.count("svg") == 4
    loss_table = html[html.index("Loss as a table") : html.index('id="learning-rate"')]
    assert loss_table.count("<tr>") == 1 + 5
    rate_table = html[html.index("Learning rate as a table") : html.index('id="data"')]
    assert rate_table.count("<tr>") == 1 + 24
    assert '<td class="r">100</td>' in rate_table


def test_the_whole_plan_is_told(parts: dict[str, Any]) -> None:
    budgets = parts["plan"].budgets.model_copy(update={"training_peak_bytes": None})
    parts["plan"] = parts["plan"].model_copy(update={"budgets": budgets})
    words = " ".join(Page(render_report(**parts)).text.split())
    for fact in ("seed 1337", "clip norm 1", "epsilon 1e-08", "decay steps 60", "dtype bfloat16", "compile yes"):
        assert fact in words
    assert "Budgets latency p95 250 ms inference RSS 400.0 MB model file 10.0 MB training peak none" in words


def test_the_chosen_compute_is_marked_among_all_that_were_measured(parts: dict[str, Any]) -> None:
    html = render_report(**parts)
    words = " ".join(Page(html).text.split())
    assert "dtype compile tokens/s step compile" in words
    assert "float32 no 24,010 99.5 ms –" in words
    assert "chosen bfloat16 yes 40,211 – 14.4 s" in words
    assert html.count('<tr class="chosen">') == 1


def test_the_environment_is_told_with_names_as_they_are(parts: dict[str, Any]) -> None:
    words = " ".join(Page(render_report(**parts)).text.split())
    assert f"{'a' * 40} (with uncommitted changes)" in words
    assert "numpy 2.0.0 · nope_s not installed" in words
    assert "OMP_NUM_THREADS=2" in words
    assert "memory 16.0 GB memory limit none" in words
    assert "GPU not measured: no framework was asked for one" in words


def test_a_run_that_never_came_to_validation_claims_nothing(parts: dict[str, Any]) -> None:
    metrics = build_training_metrics(parts["run"], parts["plan"], {}, [], [], [])
    parts |= {"report": None, "events": [], "metrics": metrics, "status": "failed", "choice": None, "commands": []}
    page = Page(render_report(**parts))
    words = " ".join(page.text.split())
    assert words.count("not measured validation did not run") == 3
    assert "This run did not come to its validation." in words
    assert "No sample was written." in words
    assert "no step was recorded" in words
    assert "trained for" not in words
    assert "Measured on held-out text" not in words


def test_without_a_report_the_last_samples_of_training_are_shown(parts: dict[str, Any]) -> None:
    parts["report"] = None
    text = Page(render_report(**parts)).text
    assert "there was a fox. (100)" in text
    assert "there was a fox. (80)" not in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0, "0"),
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (12345.6, "12,346"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
        ("text", "text"),
    ],
)
def test_numbers_read_as_people_write_them(value: object, expected: str) -> None:
    assert render_number(value) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0 B"), (999, "999 B"), (9_500_000, "9.5 MB"), (2.5e12, "2500.0 GB")]
)
def test_bytes_are_told_in_decimal_units(size: float, expected: str) -> None:
    assert render_bytes(size) == expected


def test_a_measure_without_a_value_says_why() -> None:
    assert render_measure(Measure(value=None, why_not="no GPU")) == "not measured: no GPU"
    assert render_measure(Measure(value=3.5, unit="ms")) == "3.5 ms"


def test_labels_lose_their_unit() -> None:
    names = ("latency_p95_ms", "tokens_per_s", "inference_rss_bytes", "loss")
    assert [render_label(name) for name in names] == ["latency p95", "tokens/s", "inference RSS", "loss"]


def test_moments_are_told_in_utc() -> None:
    assert render_moment("2025-02-01T01:30:00+02:00") == "31 January 2025, 23:30 UTC"
    assert render_moment("2025-02-01T01:30:00") == "2025-02-01T01:30:00"


# ── layers, setbacks, attempts ────────────────────────────────────────────────────────────────────────────────────────
def test_layers_are_shown_with_their_histograms(parts, eventful):
    html = render_report(**{**parts, "events": eventful})
    page = Page(html)
    assert "gradient norm by layer" in page.text
    assert html.count('<svg class="bars"') == 4
    assert "No layer's gradient exploded or vanished." in page.text
    assert page.open == []


def test_flag_is_shown_once_with_its_steps(parts, eventful, anatomy):
    flagged = [*eventful, *(anatomy(step, flags=("vanishing layer 1",)) for step in (70, 80))]
    text = " ".join(Page(render_report(**{**parts, "events": flagged})).text.split())
    assert text.count("vanishing layer 1: raised 2 times, from step 70 to 80") == 1


def test_skipped_steps_and_rollbacks_are_listed(parts, eventful):
    text = Page(render_report(**{**parts, "events": eventful})).text
    assert "Skipped steps and rollbacks" in text
    assert "rolled back to step 20, rates × 0.5 from there" in text


def test_quiet_run_has_no_section_about_what_did_not_happen(parts):
    text = Page(render_report(**parts)).text
    for heading in ("Layers", "Skipped steps", "Attempts"):
        assert heading not in text


def test_attempts_tell_of_resumes_changes_and_what_was_set_aside(parts):
    at = "2025-01-31T12:00:00+00:00"
    attempts = [
        {"at": at, "from_step": 0, "process": 1},
        {"at": at, "problem": "the checkpoint of step 40 is damaged", "why": "<b>another digest</b>"},
        {"at": at, "from_step": 20, "process": 2, "changes": [{"name": "python", "before": "3.11", "now": "3.12"}]},
    ]
    html = render_report(**parts, attempts=attempts)
    text = Page(html).text
    assert "went on from step 20" in text
    assert "python: 3.11 → 3.12" in text
    assert "the checkpoint of step 40 is damaged" in text
    assert "<b>another digest" not in html
