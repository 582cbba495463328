"""The workflows for users' continuous integration: what they run is there, and no failure of theirs can look like success."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

WORKFLOWS = ("smoke-leg.yml", "smoke.yml", "tests.yml")


@pytest.fixture(params=WORKFLOWS)
def workflow(request, root):
    return read(root, request.param)


def read(root, name):
    document = yaml.safe_load((root / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    document["on"] = document.pop(True)  # YAML 1.1 reads `on` as a truth value
    return document


def iter_commands(workflow):
    """(shell, command) of every step that runs one."""
    shell = workflow.get("defaults", {}).get("run", {}).get("shell")
    for job in workflow["jobs"].values():
        for step in job.get("steps", []):
            if "run" in step:
                yield step.get("shell", shell), step["run"]


def test_every_workflow_is_tested(root):
    assert sorted(path.name for path in (root / ".github" / "workflows").iterdir()) == sorted(WORKFLOWS)


def test_a_command_before_a_pipe_fails_its_step(workflow):
    for shell, command in iter_commands(workflow):
        if re.search(r"(?<!\|)\|(?!\|)", re.sub(r"'[^']*'", "", command)):
            assert shell == "bash", command  # GitHub runs that with pipefail, and no shell that is not named


def test_no_job_may_do_more_than_read_and_each_has_an_end(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 120


def test_targets_that_workflows_make_exist(root, workflow):
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for _, command in iter_commands(workflow):
        assert set(re.findall(r"\bmake ([\w-]+)", command)) <= targets


def test_tests_workflow_runs_every_target_that_checks_something(root):
    made = {command.removeprefix("make ") for _, command in iter_commands(read(root, "tests.yml"))}
    assert made == {"lint", "test", "test-all", "test-tinygrad", "test-tunix"}


def test_smoke_has_a_leg_for_every_python_and_framework(root):
    from trainwright.backends.catalogue import CATALOGUE

    leg = read(root, "smoke.yml")["jobs"]["leg"]
    matrix = leg["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "framework": ["reference", "torch", "tinygrad", "tunix"]}
    assert set(CATALOGUE) - {"transformers"} <= set(matrix["framework"])  # transformers trains in torch's own way
    assert leg["strategy"]["fail-fast"] is False
    called = read(root, "smoke-leg.yml")["on"]["workflow_call"]["inputs"]
    assert set(leg["with"]) == set(called)
    assert leg["uses"] == "./.github/workflows/smoke-leg.yml"


def test_leg_trains_only_where_the_probe_worked_and_is_not_green_through_something_else(root):
    jobs = read(root, "smoke-leg.yml")["jobs"]
    assert jobs["train"]["needs"] == "probe"
    assert jobs["train"]["if"] == "needs.probe.outputs.works == 'true'"  # else GitHub shows the job as skipped
    (command,) = (step["run"] for step in jobs["train"]["steps"] if "trainwright smoke" in step.get("run", ""))
    assert "--framework" in command
    assert "--skip-unavailable" not in command  # it was probed: from here on, not to run is to fail
    assert "continue-on-error" not in str(jobs["train"])
    assert jobs["train"]["timeout-minutes"] <= 15


def test_evidence_is_uploaded_however_a_leg_ends(root):
    jobs = read(root, "smoke-leg.yml")["jobs"]
    for name in ("probe", "train"):
        (upload,) = (step for step in jobs[name]["steps"] if "upload-artifact" in step.get("uses", ""))
        assert upload["if"] == "always()"
        assert "inputs.framework" in upload["with"]["name"]
        assert "inputs.python" in upload["with"]["name"]


@pytest.mark.parametrize(
    ("ok", "required", "code", "output", "said"),
    [
        (True, True, 0, "works=true\n", ""),
        (True, False, 0, "works=true\n", ""),
        (None, False, 0, "works=false\n", "::notice title=tunix skipped::no jax (pip install 'x')\n"),
        (None, True, 1, "", "::error title=tunix cannot run::no jax (pip install 'x')\n"),
    ],
)
def test_probe_of_a_leg_says_what_doctor_found(root, tmp_path, ok, required, code, output, said):
    if shutil.which("jq") is None:
        pytest.skip("the step reads JSON with jq, and there is none")
    probe = next(step for step in read(root, "smoke-leg.yml")["jobs"]["probe"]["steps"] if step.get("id") == "probe")
    found = {
        "name": "tunix",
        "ok": ok,
        "found": "a device" if ok else "no\njax",
        "remedy": "" if ok else "pip install 'x'",
    }
    (tmp_path / "doctor.json").write_text(json.dumps({"items": [{"name": "torch", "ok": True}, found], "next": None}))
    program = tmp_path / "trainwright"
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "doctor --json" ] && exec cat "{tmp_path}/doctor.json"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FRAMEWORK": "tunix", "REQUIRED": str(required).lower()}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", probe["run"]]
    ended = subprocess.run(words, cwd=tmp_path, env=known | files, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, said), ended.stderr
    written = tmp_path / "GITHUB_OUTPUT"
    assert (written.read_text(encoding="utf-8") if written.exists() else "") == output
    assert (tmp_path / "probe" / "doctor.json").is_file()
