"""The page about the service, from its first line to its last: a job by curl, the browser beside it, a model and another one.

The page is typed as it stands, but for the size of what is trained. What was looked at is kept in the folder that
TRAINWRIGHT_SCREENSHOTS names (default: build/screenshots).
"""

import importlib.util
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from trainwright.data.builtin.stories import iter_stories

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("TRAINWRIGHT_SCREENSHOTS") or ROOT / "build" / "screenshots")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY = (
    '"tokenizer": {"vocab_size": 400}, "compute": {"framework": "reference", "threads": 1}, '
    '"model": {"hidden_size": 16, "heads": 2, "head_dim": 8, "intermediate_size": 32, "layers": 1}, '
    '"budgets": {"latency_p95_ms": null}, "train": {"batch_size": 4, "max_seq_length": 48, "validate_every": 1500, '
    '"checkpoint_every": 500, "sample_tokens": 4, "steps": '
)
INSTEAD = {
    '"builtin:stories"': '"stories.txt"',
    '"preset": "quick", "train": {': f"{TINY}1500, ",
    '"preset": "quick"': f"{TINY}6000}}",  # long enough to be looked at while it trains
}
"""The same two jobs, but smaller."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "walk_service_page.py"
    spec = importlib.util.spec_from_file_location("walk_service_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["walk_service_page"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def walk(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A walk that is over."""
    folder = tmp_path_factory.mktemp("journey")
    (folder / "stories.txt").write_text("\n\n".join(iter_stories(400)), encoding="utf-8")
    with ExitStack() as around:
        taken = script.Walk(folder, script.open_browser(around), INSTEAD)
        with taken:
            taken.go()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, picture in taken.pictures.items():
        (SCREENSHOTS / f"{name}.png").write_bytes(picture)
    return taken


def test_the_page_holds_and_every_picture_in_it_is_what_was_looked_at(walk: Any, script: ModuleType) -> None:
    pictures = [place.text for place in script.read_places(script.PAGE) if place.kind == "picture"]
    assert len(pictures) == 3
    assert list(walk.pictures) == ([] if walk.browser is None else pictures)
    for picture in walk.pictures.values():
        assert picture.startswith(b"\x89PNG")


def test_a_job_that_was_stopped_went_on_to_its_end(walk: Any) -> None:
    assert walk.answer("/training/start", 0)["state"] == "queued"
    (ended,) = [said for command, said in walk.said if "tail -n 1" in command]
    assert json.loads(ended.removeprefix("data: "))["state"] == "cancelled"
    assert walk.answer("/training/resume")["state"] == "queued"


def test_two_runs_differ_in_what_was_changed(walk: Any) -> None:
    differing = {row["key"] for row in walk.answer("runs/compare")["configuration"]}
    assert any("learning_rate" in key for key in differing)


def test_a_model_stands_because_evidence_let_it(walk: Any) -> None:
    for number in (0, 1):
        decision = walk.answer("/gate", number)
        assert decision["outcome"] == "pass", decision
        (gate,) = decision["gates"]
        assert gate["candidate"]["low"] > 0.6, gate


def test_each_answer_came_from_the_model_that_stood_there_as_it_was_asked(walk: Any) -> None:
    first, second, third = (walk.answer("/chat/completions", number) for number in range(3))
    slow, tales = (walk.answer("/gate", number)["checkpoint"] for number in (0, 1))
    checkpoints = [answer["trainwright"]["checkpoint"] for answer in (first, second, third)]
    assert checkpoints == [slow, tales, slow]
    assert first["choices"] == third["choices"] != second["choices"]
    lines = (walk.folder / "stream.txt").read_text(encoding="utf-8").split("\n\n")
    parts = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert {part["trainwright"]["checkpoint"] for part in parts} == {slow}
    assert parts[-1]["choices"][0]["finish_reason"] is not None
