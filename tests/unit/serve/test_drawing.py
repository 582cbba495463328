"""Curves and intervals as geometry: inside their box, on round numbers, and the same as their table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.records import Estimate
from trainwright.serve.drawing import (
    HEIGHT,
    MAX_POINTS,
    MAX_TABLE_ROWS,
    WIDTH,
    draw_chart,
    draw_histogram,
    draw_intervals,
    draw_run,
)
from trainwright.watch.curves import Chart
from trainwright.watch.plots import Curve

VALUES = st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=50)


def curve(values):
    return Curve(tuple(range(1, len(values) + 1)), tuple(float(value) for value in values))


@given(VALUES, st.booleans())
def test_every_point_lies_in_the_box(values, is_log):
    drawing = draw_chart(Chart("one", "one", {"a": curve(values)}, is_log=is_log))
    for point in drawing.lines[0].points.split():
        x, y = map(float, point.split(","))
        assert -0.1 <= x <= WIDTH + 0.1
        assert -0.1 <= y <= HEIGHT + 0.1
    assert all(-1 <= tick.at <= 101 for tick in (*drawing.x_ticks, *drawing.y_ticks))


def test_higher_values_are_drawn_higher():
    first, second = draw_chart(Chart("one", "one", {"a": curve([1, 2])})).lines[0].points.split()
    assert float(first.split(",")[1]) > float(second.split(",")[1])


def test_a_long_curve_is_thinned_and_its_spike_stays():
    values = [1.0] * 20_000
    values[7_777] = 50.0
    drawing = draw_chart(Chart("one", "one", {"a": curve(values)}))
    points = json.loads(drawing.data)["points"][0]
    assert len(points) <= MAX_POINTS
    assert [7_778, 50.0] in points
    assert len(drawing.rows) == MAX_TABLE_ROWS
    assert (drawing.rows[0][0], drawing.rows[-1][0]) == ("1", "20,000")


def test_between_two_steps_a_curve_has_all_its_points_and_leads_on_to_those_beside_them():
    chart = Chart("one", "one", {"a": curve(range(20_000)), "b": Curve((5,), (1.0,))})
    points = json.loads(draw_chart(chart, between=(100, 103)).data)["points"]
    assert [step for step, _ in points[0]] == [99, 100, 101, 102, 103, 104]
    assert [step for step, _ in points[1]] == [5]


def test_histograms_count_every_finite_value_once():
    values = [0.1 * number for number in range(100)] + [float("nan")]
    drawing = draw_histogram(values)
    assert sum(count for _, count in drawing.rows) == drawing.num_values == 100
    assert max(height for _, _, height in drawing.bars) == HEIGHT
    assert sum(json.loads(drawing.data)["counts"]) == 100
    assert draw_histogram([0.0, 1.0] * 50) is None, "two values are counted, not spread"


def test_where_nothing_was_said_nothing_is_drawn():
    assert all(drawing.is_empty for drawing in draw_run([]))


def test_a_value_that_is_missing_is_a_dash_in_the_table():
    chart = Chart("one", "one", {"a": Curve((1, 2), (1.0, 2.0)), "b": Curve((2,), (5.0,))})
    assert draw_chart(chart).rows == [("1", ["1", "–"]), ("2", ["2", "5"])]


def test_intervals_share_an_axis_with_their_limit():
    low, high = (Estimate(value=value, low=value - 0.1, high=value + 0.1, n=9, method="t") for value in (0.2, 0.8))
    drawing = draw_intervals([("low", low), ("high", high), ("none", None)], 0.5)
    assert [bar.name for bar in drawing.bars] == ["low", "high"]
    assert drawing.bars[0].at < drawing.limit < drawing.bars[1].low
    assert drawing.limit == pytest.approx(50, abs=0.1)
    undefined = Estimate(value=1.0, low=None, high=None, n=1, method="t", why_not="one item")
    assert draw_intervals([("one", undefined)], 0.5) is None
