"""`make demo` ends by saying how to look at what it made."""

import shutil
import subprocess

import pytest


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_demo_ends_by_saying_how_to_open_the_dashboard(root):
    settings = pytest.importorskip("trainwright.serve.settings").Settings()
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "demo"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    last = planned.strip().splitlines()[-1]
    assert "trainwright serve" in last
    assert f"http://{settings.host}:{settings.port}" in last
