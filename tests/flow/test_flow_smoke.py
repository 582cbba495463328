"""`trainwright smoke`, as a leg of a continuous integration runs it."""

import importlib.util
import json

import pytest


def test_framework_that_is_missing_is_skipped_only_where_that_is_asked_for(command):
    error = command("smoke", "--framework=torch", "--json", expect=1).error
    assert error["name"] == "package-missing"
    assert error["next"].startswith("pip install 'trainwright[torch]'")

    words = ("smoke", "--framework=torch", "--skip-unavailable", "--output-dir=out")
    document = command(*words, "--json").document
    assert document["status"] == "skipped"
    assert "package torch, which is not installed" in document["why"]
    evidence = json.loads((command.folder / "out" / "evidence.json").read_bytes())
    assert (evidence["status"], evidence["why"]) == ("skipped", document["why"])
    assert evidence["probe"]["works"] is False
    assert command(*words, "--overwrite").out.startswith("torch: skipped: The torch backend needs the package torch")


PATIENT = [pytest.mark.extra, pytest.mark.timeout(1800)]
FRAMEWORKS = ["reference", "torch", pytest.param("tinygrad", marks=PATIENT), pytest.param("tunix", marks=PATIENT)]


@pytest.mark.slow  # five processes, each of which trains: half a minute and more
@pytest.mark.timeout(900)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_framework_trains_is_killed_goes_on_and_comes_out_the_same_again(command, framework):
    if framework != "reference" and importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    words = ("smoke", f"--framework={framework}", "--output-dir=out", "--json")
    document = command(*words, torch=True, timeout=1700).document
    assert document["status"] == "passed"
    assert [(step["name"], step["status"]) for step in document["steps"]] == [
        (name, "passed") for name in ("train", "resume", "repeat", "verify", "generate", "learning")
    ]
    evidence = json.loads((command.folder / "out" / "evidence.json").read_bytes())
    assert evidence["plan"]["compute"]["framework"] == framework
    assert evidence["environment"]["python"]["version"]
    assert evidence["metrics"]["final_metrics"] == evidence["report"]["final_metrics"]
    assert evidence["digests"][-1]["step"] == 60
    assert all(row["killed"] == row["never_stopped"] for row in evidence["digests"])
    assert len([attempt for attempt in evidence["attempts"] if "from_step" in attempt]) == 2
    assert {path.name for path in (command.folder / "out").iterdir()} == {
        "evidence.json", "events.jsonl", "logs", "loss.png", "report.html",
    }  # fmt: skip
