"""Curves: nothing measured is lost, and equal runs give equal pictures."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.watch.plots import (
    Curve,
    draw_learning_rate,
    draw_loss,
    draw_loss_curve,
    render_svg,
    smooth_curve,
    thin,
    write_loss_png,
)


def labels_of(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_the_loss_figure_has_training_validation_and_rate(events: list[dict[str, Any]]) -> None:
    figure = draw_loss(events)
    upper, lower = figure.axes
    assert labels_of(figure) == ["training", "smoothed", "validation"]
    raw, _, validation = upper.lines
    assert list(raw.get_xdata()) == list(range(1, 101))
    assert list(raw.get_ydata()) == [event["loss"] for event in events if event["kind"] == "step"]
    assert list(validation.get_xdata()) == [20, 40, 60, 80, 100]
    assert max(lower.lines[0].get_ydata()) == 3e-3


def test_a_step_without_a_finite_loss_is_marked_and_not_drawn(events: list[dict[str, Any]]) -> None:
    steps = [event | ({"loss": math.nan} if event.get("step") == 7 else {}) for event in events]
    figure = draw_loss_curve(steps)
    assert "not finite" in labels_of(figure)
    assert 7 not in list(figure.axes[0].lines[0].get_xdata())


def test_a_run_without_steps_says_so() -> None:
    for figure in (draw_loss_curve([]), draw_learning_rate([])):
        assert "no step was recorded" in render_svg(figure, "empty", "Empty")


def test_equal_events_give_equal_pictures(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    write_loss_png(tmp_path / "one.png", events)
    write_loss_png(tmp_path / "two.png", events)
    png = (tmp_path / "one.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png == (tmp_path / "two.png").read_bytes()
    svg = render_svg(draw_loss_curve(events), "loss", "Loss")
    assert svg == render_svg(draw_loss_curve(events), "loss", "Loss")


def test_an_svg_is_one_element_with_text_theme_colours_and_no_link(events: list[dict[str, Any]]) -> None:
    svg = render_svg(draw_loss_curve(events), "loss", 'Loss <by> "step"')
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["aria-label"] == 'Loss <by> "step"'
    assert "width" not in root.attrib
    assert any(text.text == "validation" for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "var(--plot-train, #2b62c9)" in svg
    assert "#0101" not in svg
    assert "font-family: var(--plot-font, sans-serif)" in svg
    body = svg[svg.index(">") :]
    assert "http" not in body
    assert "<style" not in body


def test_two_svgs_on_one_page_share_no_id(events: list[dict[str, Any]]) -> None:
    def ids(name: str) -> set[str]:
        svg = render_svg(draw_loss_curve(events), name, "Loss")
        root = ET.fromstring(svg)
        found = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
        links = {
            value.removeprefix("#") for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")
        }
        assert links <= found
        return found

    assert not ids("one") & ids("two")


def test_drawing_leaves_matplotlibs_settings_alone(events: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render_svg(draw_loss_curve(events), "loss", "Loss")
    assert dict(mpl.rcParams) == before


def test_smoothing_does_not_lag_behind_a_falling_loss() -> None:
    line = Curve(tuple(range(1000)), tuple(1000.0 - index for index in range(1000)))
    smooth = smooth_curve(line)
    assert smooth.steps == line.steps
    assert smooth.values[:-10] == pytest.approx(line.values[:-10])


def test_smoothing_flattens_noise_up_to_the_end() -> None:
    noisy = Curve(tuple(range(1000)), tuple(float(index % 2) for index in range(1000)))
    assert all(abs(value - 0.5) < 0.1 for value in smooth_curve(noisy).values[20:])


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_thinning_keeps_ends_and_extremes(values: list[float]) -> None:
    curve = Curve(tuple(range(len(values))), tuple(values))
    kept = thin(curve, max_points=20)
    assert len(kept.steps) <= max(20, 0)
    assert (kept.steps[0], kept.steps[-1]) == (0, len(values) - 1)
    assert list(kept.steps) == sorted(set(kept.steps))
    assert all(values[step] == value for step, value in zip(kept.steps, kept.values, strict=True))
    assert (max(kept.values), min(kept.values)) == (max(values), min(values))


def test_a_spike_of_one_step_is_not_smoothed_away_by_thinning() -> None:
    values = [1.0] * 100_000
    values[54_321] = 9.0
    kept = thin(Curve(tuple(range(100_000)), tuple(values)))
    assert 54_321 in kept.steps
    assert len(kept.steps) <= 800
