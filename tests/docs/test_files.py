"""The guide's commands do what it says, and docs/files.md names every file, event and key that they really write."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright.core.hashing import digest_json

# What these hold is described elsewhere: the plan by its record, the environment by its own keys, paths by their names.
OPAQUE = {"plan", "configuration", "environment", "choice", "artefacts", "final_metrics", "phases", "checks"}
OPAQUE |= {"figures", "columns", "packages", "precision", "recall"}
OPAQUE |= {"num_by_slice", "curves", "groups", "verdict", "num_records"}
OPAQUE |= {"manifest", "overrides", "jobs", "values"}
OPAQUE |= {"meta", "trace", "step_types", "adapters", "recipe", "statistics", "splits", "num_by_split"}
OPAQUE |= {"settings", "compute", "metrics", "statuses", "aggregates", "estimates", "outcomes", "differing_settings"}


@pytest.fixture(scope="module")
def page(root) -> str:
    return (root / "docs" / "files.md").read_text(encoding="utf-8")


def section_of(page: str, heading: str) -> str:
    _, found, rest = page.partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def rows_of(section: str) -> dict[str, list[str]]:
    """{first cell: the other cells} of a section's table."""
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {first: cells for first, *cells in rows}


def keys_of(document: Any) -> Iterator[str]:
    if isinstance(document, list):
        for item in document[:3]:
            yield from keys_of(item)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key not in OPAQUE:
                yield from keys_of(value)


def test_every_metric_and_scorer_is_documented(page):
    from trainwright.evaluate.metrics import METRICS
    from trainwright.evaluate.scorers import SCORERS
    from trainwright.evaluate.table import OUTCOMES
    from trainwright.evaluate.table_metrics import FAMILIES, TABLE_METRICS
    from trainwright.evaluate.table_scorers import TABLE_SCORERS

    assert METRICS.keys() | OUTCOMES.keys() <= words_of(section_of(page, "The item table"))
    assert set(SCORERS) <= words_of(section_of(page, "An evalset"))
    families = {word.partition(":")[0] for word in words_of(section_of(page, "The item table")) if ":" in word}
    assert TABLE_METRICS.keys() <= words_of(section_of(page, "The item table"))
    assert families >= FAMILIES.keys()
    assert TABLE_SCORERS.keys() <= {word.partition(":")[0] for word in words_of(section_of(page, "Scorers"))}


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def emitted_in(source: Path) -> Iterator[tuple[str, set[str], set[str]]]:
    """(kind, fact keys, timing keys) of every `….emit("kind", {…}, {…})` that is written out in a module."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        is_emit = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit"
        if is_emit and node.args and isinstance(node.args[0], ast.Constant):
            dicts = [
                {key.value for key in argument.keys if isinstance(key, ast.Constant)}
                if isinstance(argument, ast.Dict)
                else set()
                for argument in node.args[1:3]
            ]
            facts, timing = [*dicts, set(), set()][:2]
            yield node.args[0].value, facts, timing


@pytest.fixture(scope="module")
def written_events(root, guide_folder) -> dict[str, tuple[set[str], set[str]]]:
    """{kind: (fact keys, timing keys)}: what the code can write, and what the guide's runs did write."""
    events: dict[str, tuple[set[str], set[str]]] = {}

    def add(kind: str, facts: set[str], timing: set[str]) -> None:
        known = events.setdefault(kind, (set(), set()))
        known[0].update(facts - {"seq", "kind", "timing", "nonfinite"})
        known[1].update(timing - {"at"})

    for source in (root / "src" / "trainwright").rglob("*.py"):
        for kind, facts, timing in emitted_in(source):
            add(kind, facts, timing)
    assert len(events) > 4
    # What a step's lap does not hold; a lap is no literal, so its keys are read from what was written.
    of_step_alone = set(events["step"][1])
    for stream in guide_folder.glob(".trainwright/runs/*/events.jsonl"):
        for line in stream.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            add(event["kind"], set(event), set(event["timing"]))
    add("skip", set(), events["step"][1] - of_step_alone)  # has the lap of a step; whether a run skips one is chance
    return events


def test_every_event_kind_and_field_is_documented_and_no_other(page, written_events):
    documented = {
        first.strip("`"): (words_of(re.sub(r"\(.*?\)", "", cells[0])), words_of(cells[1] if len(cells) > 1 else ""))
        for first, cells in rows_of(section_of(page, "events.jsonl")).items()
    }
    assert documented == written_events


# ── the guide ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_guide_commands_do_what_it_says(guide_folder):
    assert (guide_folder / "out" / "model.safetensors").is_file()
    assert (guide_folder / "manual-hf" / "config.json").is_file()


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_everything_in_a_workspace_is_documented(page, guide_folder):
    section = section_of(page, "The workspace")
    found = {path.name for path in (guide_folder / ".trainwright").iterdir()}
    assert {"objects", "runs", "ledger.sqlite"} <= found
    assert [name for name in sorted(found) if f"`{name}" not in section] == []


def test_everything_in_a_run_folder_is_documented(page, guide_folder):
    documented = words_of(section_of(page, "A run folder"))
    folders = list((guide_folder / ".trainwright" / "runs").iterdir())
    assert len(folders) == 7
    found = {path.name + "/" * path.is_dir() for folder in folders for path in folder.iterdir()}
    assert found <= documented
    assert documented >= {"plan.json", "events.jsonl", "report.html"}


def test_lines_of_attempts_are_documented(page, guide_folder):
    section = section_of(page, "attempts.jsonl")
    for path in guide_folder.glob(".trainwright/runs/*/attempts.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) <= words_of(section)


def test_everything_in_a_checkpoint_is_documented(page, guide_folder):
    section = section_of(page, "A checkpoint")
    documented = words_of(section)
    checkpoints = list(guide_folder.glob(".trainwright/runs/*/checkpoints/*"))
    assert {"latest"} < {path.name for path in checkpoints}
    for checkpoint in (path for path in checkpoints if path.is_dir()):
        assert {path.name for path in checkpoint.iterdir()} <= documented
        assert set(keys_of(json.loads((checkpoint / "state.json").read_bytes()))) <= documented
        assert set(json.loads((checkpoint / "manifest.json").read_bytes())) <= documented


def test_output_folder_holds_what_is_documented_and_nothing_else(page, guide_folder):
    documented = {word for word in words_of(section_of(page, "The output folder")) if "." in word}
    assert {path.name for path in (guide_folder / "out").iterdir()} == documented


def test_every_key_of_training_metrics_is_documented(page, guide_folder):
    section = section_of(page, "training_metrics.json")
    documented = words_of(section)
    for path in guide_folder.glob(".trainwright/runs/*/training_metrics.json"):
        metrics = json.loads(path.read_bytes())
        top, final = section.split("`final_metrics`:")
        assert set(metrics) <= words_of(top)
        assert {word for first in rows_of(final) for word in words_of(first)} == set(metrics["final_metrics"])
        for part in ("epoch_history", "phases", "validation"):
            assert metrics[part]
            assert set(keys_of(metrics[part])) <= documented, part


# ── what --json prints ────────────────────────────────────────────────────────────────────────────────────────────────
TRACE_ID = digest_json(
    {
        "trace_version": "1.0",
        "prompt": "What is 13 + 13?",
        "final_answer": "26",
        "steps": [{"i": 0, "type": "sum", "content": "13 + 13 = 26"}],
        "meta": {"parity": "odd"},
    }
)
"""One of the traces that the guide imports."""

JSON_COMMANDS = {
    "`run`, `resume`, `train`": ["run", "manual.yaml"],
    "`plan`": ["plan", "manual.yaml"],
    "`runs list`": ["runs", "list"],
    "`runs show`": ["runs", "show", "manual@latest"],
    "`runs show --plot`, `runs show --layers`": ["runs", "show", "manual@latest", "--plot", "--layers"],
    "`runs watch`": ["runs", "watch", "manual@latest"],
    "`runs compare`": ["runs", "compare", "manual@latest", "slower@latest"],
    "`runs seeds`": ["runs", "seeds", "manual@latest"],
    "`sweep list`": ["sweep", "list"],
    "`sweep show`": ["sweep", "show", "rates", "--plot"],
    "`sweep run`, `sweep resume`, `sweep confirm`": ["sweep", "resume", "rates"],
    "`runs track`": [],  # needs a tracker: tests/interop
    "`costs`": ["costs", "manual@latest"],
    "`budgets list`": ["budgets", "list"],
    "`budgets set`": ["budgets", "set", "--project=manuals", "--hours=9"],
    "`alerts list`": ["alerts", "list"],
    "`alerts acknowledge`": [],  # needs an alert: tests/flow/test_flow_alerts.py
    "`alerts test`": [],  # needs a channel: tests/flow/test_flow_alerts.py
    "`alerts watch`": ["alerts", "watch", "--once"],
    "`tokens preview`": ["tokens", "preview", "traces.jsonl", "--tokenizer", "manual@latest"],
    "`generate`": ["generate", "manual@latest", "The", "--max-tokens=2"],
    "`evaluate`": ["evaluate", "manual@latest", "--evalset=questions.jsonl", "--by=likelihood"],
    "`suites list`": ["suites", "list"],
    "`suites show`": ["suites", "show", "safety"],
    "`scorers show`": ["scorers", "show", "rude"],
    "`scorers fit`": ["scorers", "fit", "rude", "rude.csv"],
    "`scorers list`": ["scorers", "list"],
    "`scorers calibrate`": [],  # needs a judge: tests/unit/pipeline/test_judging.py
    "`harness run`": [],  # needs lm-eval: tests/interop
    "`compare`": ["compare", "before.json", "after.json"],
    "`release gate`": [
        "release",
        "gate",
        "manual",
        "staging",
        "manual@latest",
        "--policy=first.yaml",
        "--dry-run",
    ],
    "`release show`": ["release", "show", "manual@staging"],
    "`release promote`, `release rollback`": [
        "release",
        "promote",
        "manual",
        "staging",
        "manual@latest",
        "--override=as documented",
    ],
    "`release history`": ["release", "history", "manual", "staging"],
    "`lineage`": ["lineage", "manual@latest", "--check"],
    "`verify`": ["verify", "manual@latest", "--sample=0.1"],
    "`store check`": ["store", "check"],
    "`store reindex`": ["store", "reindex"],
    "`export`": ["export", "manual@latest", "exported"],
    "`release attest`": ["release", "attest", "manual@staging"],
    "`release verify`": ["release", "verify", "manual@staging"],
    "`release evidence`": ["release", "evidence", "manual@staging", "--output=evidence.zip"],
    "`keys list`": ["keys", "list"],
    "`keys show`, `keys create`, `keys trust`, `keys export`": ["keys", "trust", "release-team.json"],
    "`models list`": ["models", "list"],
    "`models show`": ["models", "show", "manual"],
    "`models card`": ["models", "card", "manual@staging"],
    "`jobs list`": ["jobs", "list"],
    "`jobs start`, `jobs stop`, `jobs resume`": ["jobs", "start", "train.steps=6", "--key=documented"],
    "`jobs show`": [],  # needs a job's id: tests/flow
    "`jobs logs`": [],
    "`work`": [],  # would run what is in line
    "`serve`": [],  # does not end by itself: tests/flow
    "`access add`": [],  # a name has one token
    "`access list`": ["access", "list", "--tokens=tokens.yaml"],
    "`audit verify`": ["audit", "verify"],
    "`audit list`": [],  # the guide changes nothing through a service
    "`smoke`": [],  # trains for a minute: tests/flow/test_flow_smoke.py
    "`doctor`": ["doctor"],
    "`traces import`": ["traces", "import", "sums.jsonl", "--on-error=skip"],
    "`traces list`, `traces search`": ["traces", "list", "--limit=3"],
    "`traces show`": ["traces", "show", TRACE_ID],
    "`traces stats`": ["traces", "stats"],
    "`data list`": ["data", "list"],
    "`data show`, `data build`, `data merge`": ["data", "build", "sums@v2", "--from=sums@v1"],
    "`data diff`": ["data", "diff", "sums@v1", "sums@v2"],
    "`data card`": ["data", "card", "sums@v2"],
    "`data verify`": ["data", "verify", "sums@v2"],
    "`data export`": ["data", "export", "sums@v2", "sums.jsonl", "--overwrite"],
    "`data forget`": ["data", "forget", TRACE_ID],
}


def test_every_command_that_prints_json_is_documented(page, root):
    commands = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    able = set()
    for part in re.split(r"^#{2,3} trainwright ", commands, flags=re.MULTILINE)[1:]:
        if "`--json`" in part:
            able.add(part.partition("\n")[0])
    documented = {name for first in rows_of(section_of(page, "What `--json` prints")) for name in words_of(first)}
    assert {name.partition(" --")[0] for name in documented} == able
    assert set(JSON_COMMANDS) == set(rows_of(section_of(page, "What `--json` prints")))


@pytest.mark.parametrize("row", [row for row, command in JSON_COMMANDS.items() if command])
def test_keys_of_a_commands_json_are_documented(page, guide_folder, print_json, row):
    rows = rows_of(section_of(page, "What `--json` prints"))
    document = print_json(JSON_COMMANDS[row])
    documented = words_of(" ".join(rows[row]))
    for other in documented & {first.strip("`") for first in rows}:  # "an item of `runs list`, and …"
        documented = documented | words_of(" ".join(rows[f"`{other}`"]))
    keys = set(keys_of(document))
    if keys >= {"items", "next"}:
        assert document["items"]
        keys -= {"items", "next"}
    assert keys <= documented


@pytest.fixture
def print_json(guide_folder, monkeypatch, capsys):
    """Run a command in this process, where the guide was followed, and read its document."""
    from trainwright.cli.main import main

    def call(arguments: list[str]) -> Any:
        is_run = arguments[0] in ("run", "plan")
        monkeypatch.chdir(guide_folder)
        monkeypatch.setenv("TRAINWRIGHT_WORKSPACE", "")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(guide_folder / ".config"))
        monkeypatch.setattr(
            sys, "argv", ["trainwright", *arguments, "--json", *(TINY_AS_TYPED(guide_folder) if is_run else ())]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return json.loads(said.out)

    return call


def TINY_AS_TYPED(folder: Path) -> list[str]:
    """What the guide's reader appended to `run`, so that its run is found again."""
    script = (folder / ".bin" / "trainwright").read_text(encoding="utf-8")
    match = re.search(r'^run\|plan\) .* "\$@" (.*) \$LENGTH', script, re.MULTILINE)
    assert match is not None
    return [*match.group(1).split(), "train.steps=6"]
