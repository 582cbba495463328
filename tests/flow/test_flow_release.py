"""From evaluations to releases: a better model is let through, a regression in one slice is not, and a rollback holds."""

import json
import random
import shutil
import threading

import pytest

from trainwright.core.errors import RefMoved
from trainwright.core.records import Decision, Gate, GateResult, Policy
from trainwright.pipeline.promote import promote, roll_back
from trainwright.release.registry import list_revisions
from trainwright.store.workspace import open_workspace

SETTINGS = (
    "--batch-size=16", "--max-seq-length=32", "model.hidden_size=32", "model.heads=2", "model.head_dim=16",
    "model.intermediate_size=64", "model.layers=1", "tokenizer.vocab_size=290", "data.split.block_lines=20",
    "train.steps=150", "train.validate_every=150", "train.checkpoint_every=150", "train.sample_tokens=4",
    # Which answers the models get right is what the gates below are held to: what decides on that is written down.
    "train.dropout=0", "train.optimizer.learning_rate=6e-3", "train.optimizer.matrix_learning_rate=0.02",
    "compute.threads=1", "compute.framework=reference", "budgets.latency_p95_ms=null",
)  # fmt: skip
SYLLABLES = ("ka", "lo", "mi", "ru", "ten", "sab", "vor", "pil", "dun", "gex", "hom", "zet")
FARM = [first + second for first in SYLLABLES[:8] for second in SYLLABLES][:60]
FOREST = [first + second for first in SYLLABLES[8:] for second in SYLLABLES][:30]
GATES = """\
gates:
  - {kind: at_least, suite: sounds, metric: choice_correct, limit: 0.3, min_n: 50}
  - {kind: non_inferior, suite: sounds, metric: choice_correct, margin: 0.05, by: category}
"""


def sound_of(name):
    first = next(number for number, syllable in enumerate(SYLLABLES) if name.startswith(syllable))
    return "hum" if first % 2 else "zip"


def write_corpus(path, names):
    lines = [f"The {name} says {sound_of(name)}.\n" for name in names] * (3_600 // len(names))
    random.Random(0).shuffle(lines)
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory, open_command):
    """Three models in one workspace: of the animals of the farm, of the forest, and of all; each evaluated on all."""
    folder = tmp_path_factory.mktemp("release")
    command = open_command(folder)
    items = [
        {
            "id": name,
            "prompt": f"The {name} says ",
            "expected_answer": sound_of(name),
            "choices": ["hum", "zip"],
            "category": category,
        }
        for category, names in (("farm", FARM), ("forest", FOREST))
        for name in names
    ]
    (folder / "sounds.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    for stage in ("staging", "production"):
        text = f"name: careful\nstage: {stage}\nmax_overlap: null\n{GATES}"
        (folder / f"{stage}.yaml").write_text(text, encoding="utf-8")
    for name, animals in (("farm", FARM), ("forest", FOREST), ("all", FARM + FOREST)):
        write_corpus(folder / f"{name}.txt", animals)
        command("run", "--corpus", f"{name}.txt", f"name={name}", *SETTINGS)
        command("evaluate", f"{name}@latest", "--evalset", "sounds.jsonl", "--by", "likelihood")
    return command


@pytest.fixture
def person(world, tmp_path, open_command):
    """The three models in a folder of one's own."""
    shutil.copytree(world.folder, tmp_path / "copy")
    return open_command(tmp_path / "copy")


def gate(person, stage, ref, expect=0):
    words = ("release", "gate", "animals", stage, ref, "--policy", f"{stage}.yaml", "--json")
    return person(*words, expect=expect)


def promote_by_command(person, stage, *more, expect=0):
    return person("release", "promote", "animals", stage, *more, "--json", expect=expect)


@pytest.mark.slow
def test_the_whole_path(person):
    # The first model meets nothing to be compared with.
    assert gate(person, "staging", "forest@latest").document["outcome"] == "pass"
    first = promote_by_command(person, "staging").document
    gate(person, "production", "animals@staging")
    promote_by_command(person, "production")

    # The farm's model is better on the whole, and worse in the forest: refused, with the slice named.
    error = gate(person, "staging", "farm@latest", expect=6).error
    assert error["name"] == "gate-refused"
    assert "category=forest" in error["why"]
    shown = person("lineage", "farm@latest", "--json").document
    (decision,) = [node["id"] for node in shown["nodes"] if node["kind"] == "decision"]
    refused = person("release", "show", decision, "--json").document
    whole, farm, forest = refused["gates"]
    baseline_mean, candidate_mean = 0.6, whole["candidate"]["value"]
    assert candidate_mean > baseline_mean
    assert [result["outcome"] for result in (whole, farm, forest)] == ["pass", "pass", "fail"]
    assert farm["difference"]["low"] > 0 > forest["difference"]["high"]
    assert promote_by_command(person, "staging", "farm@latest", expect=6).error["name"] == "not-decided"

    # The model of all animals goes through both stages, in their order.
    assert gate(person, "production", "all@latest").document["outcome"] == "pass"
    assert promote_by_command(person, "production", expect=6).error["name"] == "stage-skipped"
    assert gate(person, "staging", "all@latest").document["outcome"] == "pass"
    promote_by_command(person, "staging")
    promote_by_command(person, "production")
    said = person("generate", "animals@production", f"The {FARM[0]} says ", "--max-tokens=4", "--temperature=0").out
    assert sound_of(FARM[0]) in said

    # Rolled back, the first one stands there again, and the other one comes back by an override alone.
    person("release", "rollback", "animals", "staging", "--why", "it hums too loud")
    assert gate(person, "staging", "all@latest").document["outcome"] == "pass"
    error = promote_by_command(person, "staging", expect=6).error
    assert error["name"] == "release-pinned"
    assert "it hums too loud" in error["why"]
    again = promote_by_command(person, "staging", "all@latest", "--override", "the noise was the loudspeaker").document
    assert again["override"]["why"] == "the noise was the loudspeaker"
    history = person("release", "history", "animals", "staging", "--json").document["items"]
    assert [row["action"] for row in history] == ["promote", "promote", "rollback", "override"]
    assert history[2]["to"] == history[0]["to"] == first["release_id"]
    assert [row["from"] for row in history] == [None, *(row["to"] for row in history[:-1])]


@pytest.mark.slow
def test_the_same_model_against_itself_passes_and_is_never_superior(person):
    gate(person, "staging", "all@latest")
    promote_by_command(person, "staging")
    same = gate(person, "staging", "all@latest").document
    assert {result["why"][:9] for result in same["gates"] if result["gate"]["kind"] == "non_inferior"} == {"no change"}
    policy = (person.folder / "staging.yaml").read_text(encoding="utf-8")
    (person.folder / "staging.yaml").write_text(
        policy + "  - {kind: superior, suite: sounds, metric: choice_correct}\n", encoding="utf-8"
    )
    assert "no change" in gate(person, "staging", "all@latest", expect=6).error["why"]


@pytest.mark.slow
def test_what_is_missing_damaged_or_known_from_training_keeps_the_gate_shut(person):
    error = person("release", "gate", "animals", "staging", "all@latest", "--json", expect=6).error
    assert "was not evaluated by safety: trainwright evaluate" in error["why"]
    # The dry run put nothing on record.
    words = ("release", "gate", "animals", "staging", "all@latest", "--policy", "staging.yaml", "--dry-run", "--json")
    assert person(*words).document["recorded"] is False
    assert promote_by_command(person, "staging", "all@latest", expect=6).error["name"] == "not-decided"

    text = (person.folder / "staging.yaml").read_text(encoding="utf-8")
    looking = text.replace("max_overlap: null", 'max_overlap: 0.0\ncanaries: ["The kaka says zip."]')
    (person.folder / "looking.yaml").write_text(looking, encoding="utf-8")
    words = ("release", "gate", "animals", "staging", "all@latest", "--policy", "looking.yaml", "--json")
    assert "contamination: fail, the training text holds 1" in person(*words, expect=6).error["why"]

    # A weight is flipped between decision and promotion.
    gate(person, "staging", "all@latest")
    (weights,) = person.workspace.glob("runs/all-*/checkpoints/step-00000150/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    error = promote_by_command(person, "staging", expect=6).error
    assert error["name"] == "release-damaged"
    assert "step-00000150: damaged" in error["why"]
    assert person("release", "history", "animals", "staging", "--json").document["items"] == []


@pytest.mark.slow
def test_of_a_thousand_racing_promotions_one_of_each_round_wins(person):
    """Twenty rounds of fifty: every racer holds a passing decision against what stood there when its round began."""
    num_rounds, num_racers = 20, 50
    with open_workspace(person.workspace) as workspace:
        ids = [workspace.ledger.resolve(f"{name}@latest") for name in ("forest", "farm", "all")]
        ask = Gate(kind="at_least", metric="choice_correct", suite="sounds", limit=0.0)
        policy = Policy(name="lax", stage="staging", baseline="none", alpha=0.05, gates=(ask,), max_overlap=None)
        workspace.ledger.put(policy)
    outcomes = []
    for number in range(num_rounds):
        with open_workspace(person.workspace) as workspace:
            workspace.ledger.put(decide_for(policy, ids[number % 3], workspace, number))
        outcomes.append(race(person, ids[number % 3], num_racers))
    assert [(row.count("won"), row.count("told")) for row in outcomes] == [(1, num_racers - 1)] * num_rounds
    with open_workspace(person.workspace) as workspace:
        revisions = list_revisions("animals", "staging", workspace.ledger)
        assert [revision.number for revision in revisions] == list(range(1, num_rounds + 1))
        moves = [revision.move for revision in revisions]
        assert [move.from_id for move in moves] == [None, *(move.to_id for move in moves[:-1])]
        roll_back("animals", "staging", workspace, who="someone", why="")
        assert list_revisions("animals", "staging", workspace.ledger)[-1].action == "rollback"


def decide_for(policy, checkpoint, workspace, number):
    result = GateResult(
        gate=policy.gates[0], part="", outcome="pass", candidate=None, baseline=None, difference=None,
        items_to_settle=None, why="",
    )  # fmt: skip
    return Decision(
        name="animals", stage="staging", policy=policy.id, checkpoint=checkpoint,
        replaces=workspace.ledger.read_ref("animals@staging"), baseline=None, verdict=None, evaluations=(),
        all_evaluations=(), outcome="pass", gates=(result,), conditions=(), at=f"round {number}", who="someone",
    )  # fmt: skip


def race(person, checkpoint, num_racers):
    start, results = threading.Barrier(num_racers), []

    def run():
        with open_workspace(person.workspace) as workspace:
            start.wait()
            try:
                promote("animals", "staging", workspace, who="racer", why="", ref=checkpoint)
                results.append("won")
            except RefMoved:
                results.append("told")

    racers = [threading.Thread(target=run) for _ in range(num_racers)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return results
