"""A release is signed, verified, handed to an auditor and described, all through the command line."""

import json
import shutil

import pytest

POLICY = """\
name: ours
stage: staging
baseline: none
max_overlap: null
gates:
  - {kind: at_least, suite: items, metric: answer_correct, limit: 0.0, min_n: 1}
"""


@pytest.fixture(scope="module")
def signed(tmp_path_factory, finished, open_command):
    """The finished run in a folder of its own, evaluated, promoted and signed. Not to be changed."""
    folder = tmp_path_factory.mktemp("trust") / "copy"
    shutil.copytree(finished.command.folder, folder)
    command = open_command(folder)
    items = [
        {"id": str(number), "prompt": f"What is {number} + 1?", "expected_answer": number + 1} for number in range(3)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    command("evaluate", "sentences@latest", "--evalset", "items.jsonl", "--max-tokens=4")
    command("release", "gate", "sentences", "staging", "sentences@latest", "--policy", "policy.yaml")
    command("release", "promote", "sentences", "staging", "--why", "it passed")
    command("release", "attest", "sentences@staging")
    return command


@pytest.fixture
def person(signed, tmp_path, open_command):
    shutil.copytree(signed.folder, tmp_path / "copy")
    return open_command(tmp_path / "copy")


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x01
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.slow  # many processes, one after the other
def test_a_signed_release_is_verified_offline_on_another_machine(signed, tmp_path, open_command):
    document = signed("release", "verify", "sentences@staging", "--json").document
    assert set(document) == {"release", "attestation", "signer", "checks"}
    assert {check["passed"] for check in document["checks"]} == {True}
    # The workspace alone is enough: the signer's private keys stay where they are.
    shutil.copytree(signed.workspace, tmp_path / ".trainwright")
    elsewhere = open_command(tmp_path)
    assert "bill of materials" in elsewhere("release", "verify", "sentences@staging").out
    assert elsewhere("keys", "show", expect=1).err.startswith("error[signing-key-missing]")
    (signer,) = elsewhere("keys", "list", "--json").document["items"]
    assert (signer["own"], signer["trusted"]) == (False, True)


@pytest.mark.slow  # many processes, one after the other
def test_a_flipped_byte_in_the_weights_is_named(person):
    (weights,) = person.workspace.glob("runs/*/checkpoints/step-00000010/model.safetensors")
    flip(weights)
    error = person("release", "verify", "sentences@staging", "--json", expect=5).error
    assert error["name"] == "attestation-failed"
    assert "model.safetensors: its bytes have changed" in error["why"]
    shown = person("release", "verify", "sentences@staging", expect=5)
    assert "FAIL" in shown.out


@pytest.mark.slow  # many processes, one after the other
def test_evidence_is_checked_from_itself_alone(signed, tmp_path, open_command):
    written = signed("release", "evidence", "sentences@staging", "--output", tmp_path / "for-you.zip", "--with-weights")
    assert "for-you.zip" in written.out
    signed("keys", "export", tmp_path / "signer.json")
    auditor = open_command(tmp_path / "auditor")
    auditor.folder.mkdir()
    words = (
        "release",
        "verify",
        "--evidence",
        tmp_path / "for-you.zip",
        "--public-key",
        tmp_path / "signer.json",
        "--json",
    )
    checks = {check["name"]: check["passed"] for check in auditor(*words).document["checks"]}
    assert {checks[name] for name in ("signer", "envelope", "model.safetensors", "decision", "lineage")} == {True}
    assert not auditor.workspace.exists()

    signed("release", "evidence", "sentences@staging", "--output", tmp_path / "evidence")
    flip(tmp_path / "evidence" / "signed" / "bill-of-materials.json")
    error = auditor("release", "verify", "--evidence", tmp_path / "evidence", "--json", expect=5).error
    assert "signed/bill-of-materials.json: its bytes have changed" in error["why"]


@pytest.mark.slow
def test_somebody_elses_signature_counts_once_they_are_trusted(person, tmp_path):
    person("keys", "create", "--name", "release team", "--keys", tmp_path / "team")
    person("release", "attest", "sentences@staging", "--keys", tmp_path / "team")
    team = person("keys", "show", "--keys", tmp_path / "team", "--json").document
    (person.workspace / "keys" / f"{team['signer_id']}.json").unlink()
    error = person("release", "verify", "sentences@staging", "--json", expect=5).error
    assert "release team" in error["why"]
    person("keys", "export", tmp_path / "team.json", "--keys", tmp_path / "team")
    assert person("keys", "trust", tmp_path / "team.json", "--json").document["new"] is True
    assert person("keys", "show", "release team", "--json").document == team
    person("release", "verify", "sentences@staging")


@pytest.mark.slow
def test_unsigned_release_is_refused_and_seen(person):
    words = (
        "release",
        "promote",
        "sentences",
        "staging",
        "sentences@latest",
        "--override",
        "to show it",
        "--no-sign",
        "--json",
    )
    person(*words)
    assert person("release", "verify", "sentences@staging", expect=5).err.startswith("error[release-unsigned]")
    rows = {row["stage"]: row for row in person("models", "list", "--json").document["items"]}
    assert (rows["staging"]["signed"], rows["staging"]["outcome"]) == (False, "override")
    assert "UNSIGNED" in person("models", "list").out
    assert "to show it" in person("models", "card", "sentences@staging").out


@pytest.mark.slow
def test_a_card_is_read_from_the_records(signed, tmp_path):
    card = signed("models", "card", "sentences@staging").out
    assert card.startswith("# Model card: sentences@staging\n")
    assert "| licence | not recorded |" in card
    signed("models", "card", "sentences@latest", "--output", tmp_path / "card.html")
    assert "not released" in (tmp_path / "card.html").read_text(encoding="utf-8")
    shown = signed("models", "show", "sentences", "--json").document
    assert [place["stage"] for place in shown["places"]] == ["latest", "staging"]
    assert "it passed" in signed("models", "show", "sentences").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("release", "verify"), 64, "usage"),
        (("release", "verify", "sentences@staging", "--evidence", "x"), 64, "usage"),
        (("release", "verify", "sentences@latest"), 64, "unknown-ref"),
        (("release", "verify", "--evidence", "nothing"), 5, "evidence-unreadable"),
        (("release", "evidence", "nobody@staging", "--output", "x"), 64, "unknown-ref"),
        (("keys", "show", "nobody"), 64, "signer-unknown"),
        (("keys", "trust", "nothing.json"), 1, "signing-key-missing"),
        (("keys", "trust", "items.jsonl"), 1, "signing-key-unreadable"),
        (("keys", "create"), 64, "output-exists"),
        (("models", "show", "nobody"), 64, "unknown-ref"),
        (("models", "card", "sentences@staging", "--output", "card.pdf"), 64, "invalid-value"),
    ],
)
def test_bad_input_is_told(signed, words, code, name):
    assert signed(*words, "--json", expect=code).error["name"] == name


def test_exposed_key_does_not_sign(person):
    (person.folder / "keys" / "statement.pem").chmod(0o644)
    error = person("release", "attest", "sentences@staging", "--json", expect=1).error
    assert error["name"] == "signing-key-exposed"
