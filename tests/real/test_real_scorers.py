"""Scorers on real labels: XSTest's prompts, which look alike whether they are safe or not, so that words alone tell little."""

import os
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the extra scorers is not installed")

from trainwright.pipeline.scorers import Columns, find_scorer, fit
from trainwright.store.workspace import open_workspace

DATA = os.environ.get("TRAINWRIGHT_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TRAINWRIGHT_DATA does not name a folder with real text")


def test_scorer_of_xstest_says_how_little_it_knows(tmp_path):
    path = Path(str(DATA)) / "xstest" / "xstest_prompts.csv"
    with open_workspace(tmp_path) as workspace:
        alone = fit("unsafe", path, Columns("prompt", "label"), workspace, positive="unsafe", seed=0).record
        grouped = fit("unsafe", path, Columns("prompt", "label", "type"), workspace, positive="unsafe", seed=0).record
        assert find_scorer("unsafe", workspace).record == grouped
    assert (alone.num_rows, grouped.num_groups) == (450, 18)
    assert 0 < alone.kappa.value < 0.5
    # Kinds of prompts that it never saw: no better than chance can be told from what was seen.
    assert grouped.kappa.low < 0 < grouped.kappa.high
    assert grouped.kappa.value < alone.kappa.value
