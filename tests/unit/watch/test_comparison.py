"""Several runs side by side."""

import io

import pytest
from rich.console import Console

from trainwright.watch.comparison import (
    Comparison,
    Contestant,
    Difference,
    Metric,
    render_comparison,
    render_comparison_page,
)


def contestant(name, events):
    return Contestant(f"{name * 64}", f"run {name}", "completed", 100, 100, events)


@pytest.fixture
def comparison(events):
    return Comparison(
        contestants=[contestant("a", events), contestant("b", events)],
        configuration=[
            Difference("training.optimizer.learning_rate", [0.003, 0.002]),
            Difference("data.source", ["<b>", None]),
        ],
        environment=[],
        metrics=[Metric("bits_per_byte", "bits/byte", [1.5, 1.25]), Metric("val_loss", "nats/token", [2.0, None])],
        notes=["The tokenizers differ."],
        same_tokens=True,
    )


def test_better_value_is_named_by_its_direction():
    assert Metric("bits_per_byte", "", [1.5, 1.25]).best == 1
    assert Metric("accuracy", "", [0.5, 0.25]).best == 0


@pytest.mark.parametrize(
    "metric",
    [
        Metric("val_loss", "", [2.0, 1.0], why_not="the tokenizers differ"),
        Metric("val_loss", "", [2.0, None]),
        Metric("val_loss", "", [2.0, 2.0]),
        Metric("val_loss", "", [float("nan"), 2.0]),
        Metric("total_training_time_s", "s", [2.0, 1.0]),
    ],
)
def test_nothing_is_better_where_comparing_means_nothing(metric):
    assert metric.best is None


def test_page_is_self_contained_and_escaped(comparison):
    page = render_comparison_page(comparison)
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;b&gt;" in page
    assert "<b>1.25</b>" in page
    assert "The tokenizers differ." in page
    assert page == render_comparison_page(comparison)


def test_terminal_shows_curves_metrics_and_what_differs(comparison):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(render_comparison(comparison, console))
    text = console.file.getvalue()
    for part in (
        "held-out bits per byte",
        "training loss",
        "training.optimizer.learning_rate",
        "environment: no difference",
    ):
        assert part in text


def test_document_keeps_the_order_of_the_runs(comparison):
    document = comparison.as_document()
    assert [run["label"] for run in document["runs"]] == ["run a", "run b"]
    assert document["configuration"][0]["values"] == [0.003, 0.002]
    assert [chart["name"] for chart in document["curves"]] == ["bits_per_byte", "train_loss", "learning_rate"]
    assert list(document["curves"][0]["curves"]) == ["run a", "run b"]
