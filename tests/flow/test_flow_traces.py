"""Traces through the command line: from a file to a version, out again, and forgotten, killed or not."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from trainwright.core.hashing import digest_bytes

NUM_TRACES = 40


def write_traces(path: Path, count: int = NUM_TRACES) -> Path:
    documents = [
        {
            "trace_version": "1.0",
            "prompt": f"What is {number} + 1?",
            "final_answer": str(number + 1),
            "steps": [{"i": 0, "type": "sum", "content": f"{number} + 1 = {number + 1}"}],
            "meta": {"kind": "even" if number % 2 == 0 else "odd"} if number else None,
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, command_line):
    """A folder in which dev@v1 holds 40 traces. Not to be changed."""
    command = command_line(tmp_path_factory.mktemp("traces"))
    command("traces", "import", write_traces(command.folder / "traces.jsonl"))
    command("data", "build", "dev@v1", "--select", "random", "--seed", "1")
    return command.folder


@pytest.fixture
def dev(made, tmp_path, command_line):
    """The command line in a copy of it."""
    shutil.copytree(made, tmp_path / "copy")
    return command_line(tmp_path / "copy")


def first_trace(command) -> str:
    return digest_bytes(command("data", "export", "dev@v1", "-").out.splitlines()[0].encode())


def test_from_a_file_to_a_version_and_without_one_trace(dev):
    assert dev("traces", "import", "traces.jsonl", "--json").document["num_known"] == NUM_TRACES
    assert dev("traces", "stats", "--json").document["num_traces"] == NUM_TRACES
    page = dev("traces", "list", "--limit", "30", "--json").document
    rest = dev("traces", "list", "--limit", "30", "--after", page["next"], "--json").document
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (30, 10, None)
    trace_id = first_trace(dev)
    found = dev("traces", "search", "what is 1", "--json").document["items"]
    assert found[0]["id"] == dev("traces", "show", found[0]["id"][:12], "--json").document["id"]

    exported = dev("data", "export", "dev@v1", "a.jsonl", "--json").document
    assert exported["num_records"] == NUM_TRACES
    assert dev("data", "verify", "dev@v1", "--json").document["verified"]

    receipt = dev("data", "forget", trace_id[:12], "--why", "asked for", "--json").document
    assert [one["key"] for one in receipt["datasets"]] == ["dev@v1"]
    refused = dev("data", "export", "dev@v1", "b.jsonl", "--json", expect=2)
    assert refused.error["name"] == "trace-forgotten"
    assert not (dev.folder / "b.jsonl").exists()
    dev(*receipt["rebuild"][0].split()[1:])
    difference = dev("data", "diff", "dev@v1", "dev@v2", "--json").document
    assert (difference["removed"], difference["num_added"], difference["num_moved"]) == ([trace_id], 0, 0)
    usable = {one["key"]: one["usable"] for one in dev("data", "list", "--json").document["items"]}
    assert usable == {"dev@v2": True, "dev@v1": False}
    assert dev("traces", "show", trace_id, "--json", expect=2).error["name"] == "trace-forgotten"
    assert "receipt" in dev("lineage", "dev@v1").out

    asked = dev("lineage", trace_id[:12], "--output", "use.svg", "--json").document
    assert [node["kind"] for node in asked["nodes"]] == ["trace", "dataset", "receipt"]
    assert (dev.folder / "use.svg").read_text().startswith("<?xml")
    said = dev("lineage", trace_id, "--output", "use.html").out
    assert "it is in, or came into: 1 dataset, 0 runs, 0 checkpoints, 0 releases" in said
    assert "<svg" in (dev.folder / "use.html").read_text()
    for name, error in (("use.png", "invalid-value"), ("use.svg", "output-exists")):
        assert dev("lineage", trace_id, "--output", name, "--json", expect=64).error["name"] == error


def test_bad_input_is_refused_by_name_and_changes_nothing(dev):
    path = dev.folder / "bad.jsonl"
    path.write_text('{"trace_version": "1", "prompt": "new", "final_answer": "x", "steps": []}\nnot json\n')
    refused = dev("traces", "import", path, "--json", expect=2)
    assert refused.error["name"] == "invalid-trace"
    assert f"{path}:1: " in refused.err
    assert f"{path}:2: " in refused.err
    skipped = dev("traces", "import", path, "--on-error", "skip", "--json").document
    assert (skipped["num_new"], skipped["num_bad"]) == (0, 2)
    for arguments, name, code in (
        (("data", "build", "dev@v1", "--limit", "3"), "immutable-record", 64),
        (("data", "build", "x@v1", "--filter", "meta.kind=none"), "nothing-selected", 2),
        (("data", "build", "x@v1", "--from", "dev@v1", "--limit", "3"), "invalid-value", 64),
        (("traces", "search", "--", "-"), "invalid-value", 64),
    ):
        assert dev(*arguments[:2], "--json", *arguments[2:], expect=code).error["name"] == name, arguments
    assert dev("traces", "stats", "--json").document["num_traces"] == NUM_TRACES
    assert [one["key"] for one in dev("data", "list", "--json").document["items"]] == ["dev@v1"]


@pytest.mark.parametrize("at", [2, 7])
def test_a_build_that_is_killed_is_built_by_the_same_command(dev, at_instant, at):
    """Killed just before the at-th operation on a stored object."""
    arguments = ("data", "build", "other@v1", "--select", "random")
    instant = at_instant("KILL", at, "/.trainwright/objects/")
    dev(*arguments, instant=instant, expect=-signal.SIGKILL)
    assert [one["key"] for one in dev("data", "list", "--json").document["items"]] == ["dev@v1"]
    dev(*arguments)
    assert dev("data", "verify", "other@v1", "--json").document["num_records"] == NUM_TRACES


@pytest.mark.parametrize("at", [1, 5])
def test_forgetting_that_is_killed_holds_and_is_finished_by_the_same_command(dev, at_instant, at):
    """Killed just before the at-th operation on a stored object: after the trace store has let the content go."""
    trace_id = first_trace(dev)
    instant = at_instant("KILL", at, "/.trainwright/objects/")
    dev("data", "forget", trace_id, instant=instant, expect=-signal.SIGKILL)
    assert dev("data", "export", "dev@v1", "x.jsonl", "--json", expect=2).error["name"] == "trace-forgotten"
    receipt = dev("data", "forget", trace_id, "--json").document
    assert receipt["num_erased_objects"] == 1
    assert [one["key"] for one in receipt["datasets"]] == ["dev@v1"]
    stored = [path.read_bytes() for path in (dev.workspace / "objects").rglob("*") if path.is_file()]
    assert sum(b'"final_answer"' in content for content in stored) == 1  # the other split alone
