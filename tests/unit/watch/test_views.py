"""What `runs show` draws."""

import io

import pytest
from rich.console import Console

from trainwright.watch.views import render_charts, render_layers


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100, color_system=None)


def said(console, view):
    console.print(view)
    return console.file.getvalue()


def test_all_charts_and_setbacks_are_shown(console, eventful):
    text = said(console, render_charts(eventful, console))
    for title in ("loss, nats per token", "learning rate", "gradient norm by layer", "update to weight ratio by layer"):
        assert title in text
    assert "step 25 was skipped: gradient norm" in text
    assert "rolled back from step 25 to 20: 3 skips; rates × 0.5 from there" in text


def test_each_group_has_a_row_with_its_histogram_on_a_common_axis(console, eventful):
    rows = said(console, render_layers(eventful, console)).splitlines()
    assert "layers at step 60" in rows[0]
    assert "2^-14 to 2^-5" in rows[1]
    embedding, norm = (next(row for row in rows if row.startswith(name)) for name in ("embedding", "norm"))
    assert embedding.rindex("█") == norm.rindex("█") + 5  # 2^-7 is five powers of two above 2^-12
    assert "no layer's gradient explodes or vanishes" in rows[-1]


def test_flags_are_shown(console, anatomy):
    assert "! vanishing layer 1" in said(console, render_layers([anatomy(3, flags=("vanishing layer 1",))], console))


def test_run_that_did_not_look_says_so(console, events):
    assert "did not look into its layers" in said(console, render_layers(events, console))


def test_number_that_is_not_finite_is_shown_as_it_is(console, anatomy):
    broken = anatomy(3)
    broken["groups"][0]["gradient_norm"] = float("nan")
    assert "nan" in said(console, render_layers([broken], console))
