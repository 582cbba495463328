"""The page about parity says what the committed figures say, and those hold what the page promises."""

import importlib.util
import json

import pytest


@pytest.fixture(scope="module")
def writer(root):
    spec = importlib.util.spec_from_file_location("write_parity", root / "scripts" / "write_parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(root):
    return json.loads((root / "docs" / "parity.json").read_bytes())


def test_page_is_made_from_the_committed_figures(root, writer, figures):
    page = (root / "docs" / "parity.md").read_text(encoding="utf-8")
    assert page == writer.render_page(figures), "run: python scripts/write_parity.py --render"


def test_every_framework_was_measured_or_says_why_not(writer, figures):
    assert tuple(figures["frameworks"]) == writer.FRAMEWORKS
    assert figures["frameworks"]["reference"]["measured"]
    for name, run in figures["frameworks"].items():
        assert run["measured"] or run["why_not"], name


def test_figures_of_the_page_are_those_of_the_losses(writer, figures):
    expected = figures["frameworks"]["reference"]["losses"]
    assert len(expected) == 100
    for name, run in figures["frameworks"].items():
        if not run["measured"]:
            continue
        away = [abs(loss - other) for loss, other in zip(run["losses"], expected, strict=True)]
        assert max(away) == pytest.approx(run["max_loss_difference"]), name
        assert max(away) <= figures["tolerances"]["loss"], name
        assert run["max_weight_difference"] <= figures["tolerances"]["weight"], name
        assert run["same_learning_rates"], name
        assert run["same_text"], name


def test_tolerances_are_those_of_the_contract(root, writer, figures):
    contract = (root / "tests" / "contract" / "test_parity.py").read_text(encoding="utf-8")
    assert "LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-3, 1e-3\n" in contract
    assert figures["tolerances"] == {"loss": 1e-3, "weight": 1e-3}
    assert figures["tolerances"] == {"loss": writer.LOSS_TOLERANCE, "weight": writer.WEIGHT_TOLERANCE}


def test_picture_has_a_curve_for_each_framework_that_was_measured(root, figures):
    drawn = (root / "docs" / "images" / "parity.svg").read_text(encoding="utf-8")
    for name, run in figures["frameworks"].items():
        assert (f">{name}<" in drawn) == run["measured"], name


def test_framework_that_did_not_run_says_so_and_why(writer, figures):
    frameworks = figures["frameworks"] | {"tunix": {"measured": False, "why_not": "the package | is not there"}}
    page = writer.render_page(figures | {"frameworks": frameworks})
    assert "| tunix | not measured: the package \\| is not there | | | | |" in page
