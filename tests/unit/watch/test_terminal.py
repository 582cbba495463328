"""Charts in a terminal's characters."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainwright.watch.plots import Curve
from trainwright.watch.terminal import LABEL_WIDTH, Series, choose_ticks, render_bars, render_chart

WIDTH, HEIGHT = 60, 10


def draw(*series, **options):
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(render_chart("a title", series, WIDTH, HEIGHT, **options))
    return console.file.getvalue().splitlines()


def canvas(lines):
    return [line[LABEL_WIDTH + 1 :] for line in lines[1 : HEIGHT + 1]]


def line(*values, name="loss", style="blue"):
    return Series(name, Curve(tuple(range(1, len(values) + 1)), tuple(map(float, values))), style)


def test_chart_has_title_names_axes_and_steps():
    lines = draw(line(3, 2, 1), line(4, 3, 2, name="validation"))
    assert lines[0].startswith("a title")
    assert "loss" in lines[0]
    assert "validation" in lines[0]
    assert lines[HEIGHT + 2].split() == ["1", "step", "3"]
    assert all(len(row) <= WIDTH for row in lines)


def test_falling_curve_goes_from_upper_left_to_lower_right():
    rows = canvas(draw(line(*range(50, 0, -1))))
    first = [row.strip("\u2800 ") and len(row) - len(row.lstrip("\u2800 ")) for row in rows]
    assert first == sorted(first)
    assert rows[0].strip("\u2800 ")
    assert rows[-1].strip("\u2800 ")


def test_spike_of_one_step_is_seen():
    flat = canvas(draw(line(*[1.0] * 40, 1.01)))
    spiked = canvas(draw(line(*[1.0] * 20, 9.0, *[1.0] * 20)))
    assert spiked[0].strip("\u2800 ") or spiked[1].strip("\u2800 ")
    assert spiked != flat


def test_equal_values_are_a_line_in_the_middle():
    rows = canvas(draw(line(5, 5, 5)))
    drawn = [index for index, row in enumerate(rows) if row.strip("\u2800 ")]
    assert drawn in ([HEIGHT // 2 - 1], [HEIGHT // 2])


def test_later_series_are_drawn_over_earlier_ones():
    lines = draw(line(1, 2), line(1, 2, name="other"), is_unicode=False)
    assert "*" not in "".join(canvas(lines))
    assert "o" in "".join(canvas(lines))


def test_terminal_without_unicode_gets_ascii_alone():
    assert "".join(draw(line(3, 2, 1), line(1, 2, 3), is_unicode=False)).isascii()


def test_logarithmic_chart_labels_powers_of_ten_and_leaves_out_what_has_no_logarithm():
    lines = draw(line(1000, 100, 0, 10, -3, 1), is_log=True)
    labels = {row[:LABEL_WIDTH].strip() for row in lines[1 : HEIGHT + 1]} - {""}
    assert labels <= {"1", "10", "100", "1e+03"}
    assert len(labels) > 1


def test_nothing_is_said_to_be_nothing():
    assert "nothing was recorded" in "\n".join(draw(line()))
    assert "nothing was recorded" in "\n".join(draw(line(0, 0), is_log=True))


@pytest.mark.parametrize("is_unicode", [True, False])
def test_bars_show_shares_of_the_largest_and_anything_above_nothing(is_unicode):
    bars = render_bars([0, 1, 500, 1000], is_unicode=is_unicode)
    assert len(bars) == 4
    assert bars[0] == " "
    assert len(set(bars)) == 4
    assert render_bars([0, 0], is_unicode=is_unicode) == "  "


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_ticks_lie_inside_and_are_few(low, span, num_most):
    ticks = choose_ticks(low, low + span, num_most)
    assert len(ticks) <= num_most
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
