"""A release is signed as it is, and whatever changes afterwards is found and named."""

import json
import shutil

import pytest

from trainwright.core.errors import AttestationFailed, CheckpointDamaged, ReleaseUnsigned, UnknownRef
from trainwright.core.hashing import canonical_json, digest_file
from trainwright.core.records import Attestation, Override
from trainwright.pipeline.attest import attest, find_attestation, find_release, gather_history, verify_release
from trainwright.pipeline.keys import trust
from trainwright.release.bill_of_materials import check_bill
from trainwright.release.provenance import check_statement, read_byproducts, read_subjects
from trainwright.release.signing import open_statement, sign_statement
from trainwright.release.verification import require_attested


def outcomes(released) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verify_release(released.release, released.workspace).checks}


def failed(released) -> set[str]:
    return {name for name, passed in outcomes(released).items() if passed is False}


def flip(path, place=-1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x01
    path.chmod(0o644)
    path.write_bytes(data)


# ── what is signed ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_signed_release_passes_every_check(signed):
    released, attestation = signed
    found = outcomes(released)
    assert set(found) >= {"decision", "signer", "envelope", "model.safetensors", "model signature", "bill of materials"}
    assert set(found.values()) == {True}
    assert find_attestation(released.release, released.workspace) == attestation
    assert attestation.parents() == {"release": released.release.id}


def test_the_statement_is_in_toto_with_slsa_provenance(signed, keys):
    released, attestation = signed
    statement = open_statement(released.workspace.objects.get(attestation.envelope), keys.public)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert read_subjects(statement) == {path.name: digest_file(path) for path in released.folder.iterdir()}
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert set(definition) == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert set(details) == {"builder", "metadata", "byproducts"}
    assert [each["name"] for each in definition["resolvedDependencies"]] == [
        "dataset",
        "plan",
        "token-set",
        "tokenizer",
    ]
    assert details["metadata"] == {
        "invocationId": f"urn:trainwright:run:{released.run.id}",
        "startedOn": "2025-01-01T00:00:00+00:00",
        "finishedOn": "2025-01-01T01:00:00+00:00",
    }
    assert read_byproducts(statement)["environment.json"] == released.run.environment


def test_statement_about_something_else_is_told(signed, keys):
    released, attestation = signed
    history = gather_history(released.release, released.workspace.ledger)
    statement = open_statement(released.workspace.objects.get(attestation.envelope), keys.public)
    assert check_statement(statement, history) == []
    statement["subject"] = statement["subject"][1:]
    statement["predicate"]["buildDefinition"]["resolvedDependencies"].pop()
    statement["predicate"]["buildDefinition"]["externalParameters"]["release"]["stage"] = "production"
    assert check_statement(statement, history) == [
        "it is of another release",
        "its files are not those of the checkpoint",
        "it was made of other records",
    ]
    assert len(check_statement({"predicate": 3}, history)) == 6


def test_the_bill_of_materials_has_card_data_packages_and_weights(signed):
    released, attestation = signed
    data = released.workspace.objects.get(attestation.bill_of_materials)
    assert check_bill(data, released.release.weights) == []
    assert check_bill(data, "0" * 64) == ["it is of other weights"]
    bill = json.loads(data)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    names = {each["name"]: each["type"] for each in bill["components"]}
    assert names == {"hello.txt": "data", "tokenizer (bpe, 300 pieces)": "data", "numpy": "library"}
    card = bill["metadata"]["component"]["modelCard"]
    figures = {each["type"]: each for each in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert figures["answer_correct"]["value"] == "0.75"
    assert set(figures["answer_correct"]["confidenceInterval"]) == {"lowerBound", "upperBound"}
    assert any("Budget not met: model file" in limit for limit in card["considerations"]["technicalLimitations"])


def test_bill_that_is_not_as_the_schema_says_is_refused(signed):
    released, attestation = signed
    bill = json.loads(released.workspace.objects.get(attestation.bill_of_materials))
    bill["metadata"]["component"]["type"] = "prophecy"
    (problem,) = check_bill(canonical_json(bill), released.release.weights)
    assert "schema" in problem
    assert check_bill(b"{", "0" * 64)[0].startswith("it is not JSON")
    assert check_bill(b"[]", "0" * 64) == ["it is no CycloneDX 1.6 document"]


# ── damage ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_in_a_file_of_the_model_is_named(signed, name):
    released, _ = signed
    flip(released.folder / name)
    assert failed(released) == {name, "model signature"}


def test_a_missing_file_and_a_missing_folder_are_named(signed):
    released, _ = signed
    (released.folder / "model.safetensors").unlink()
    assert failed(released) == {"model.safetensors", "model signature"}
    shutil.rmtree(released.folder)
    assert failed(released) >= {"model.safetensors", "state.json", "model signature"}
    shutil.rmtree(released.workspace.find_run_folder(released.run.id).path)
    assert failed(released) == {"model files"}


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("envelope", "envelope"),
        ("model_signature", "model signature"),
        ("bill_of_materials", "bill of materials"),
        ("signer", "signer"),
    ],
)
def test_a_flipped_byte_in_what_was_signed_is_named(signed, field, row):
    released, attestation = signed
    flip(released.object_path(getattr(attestation, field)), 40)
    assert failed(released) == {row}
    assert failed(released) == {row}  # it was set aside: now it is missing


def test_somebody_elses_signature_is_not_trusted_until_a_person_trusts_it(released, other_keys):
    attest(released.release, released.workspace, other_keys)
    (released.workspace.root / "keys" / f"{other_keys.public.id}.json").unlink()
    verified = verify_release(released.release, released.workspace)
    with pytest.raises(AttestationFailed, match="not what was signed: signer") as raised:
        require_attested(verified.checks, "ours@staging")
    assert "somebody else" in raised.value.why
    assert raised.value.exit_code == 5
    trust(other_keys.public, released.workspace)
    require_attested(verify_release(released.release, released.workspace).checks, "ours@staging")


def test_an_attestation_put_together_from_parts_does_not_pass(signed, keys, other_keys):
    released, attestation = signed
    objects = released.workspace.objects
    statement = open_statement(objects.get(attestation.envelope), keys.public)
    forged = attestation.model_copy(update={"envelope": objects.put(sign_statement(statement, other_keys))})
    released.workspace.ledger.put(forged)
    assert failed(released) == {"envelope"}


def test_a_bill_that_was_not_signed_with_the_statement_is_told(signed):
    released, attestation = signed
    bill = json.loads(released.workspace.objects.get(attestation.bill_of_materials))
    bill["metadata"]["component"]["modelCard"]["considerations"]["technicalLimitations"] = ["none at all"]
    changed = released.workspace.objects.put(canonical_json(bill))
    released.workspace.ledger.put(attestation.model_copy(update={"bill_of_materials": changed}))
    assert failed(released) == {"signed together"}


def test_unsigned_release_is_visibly_unsigned(released):
    assert find_attestation(released.release, released.workspace) is None
    with pytest.raises(ReleaseUnsigned, match="is not signed") as raised:
        verify_release(released.release, released.workspace)
    assert raised.value.exit_code == 5


def test_damaged_checkpoint_is_not_signed(released, keys):
    flip(released.folder / "model.safetensors")
    with pytest.raises(CheckpointDamaged):
        attest(released.release, released.workspace, keys)
    assert find_attestation(released.release, released.workspace) is None


def test_folder_with_something_else_in_it_is_not_signed(released, keys):
    (released.folder / "code.py").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointDamaged, match="other files") as raised:
        attest(released.release, released.workspace, keys)
    assert "code.py" in raised.value.why


def test_an_override_is_shown_and_never_called_a_pass(released, keys):
    override = Override(who="someone", why="it is only for a demonstration")
    release = released.release.model_copy(update={"decision": None, "override": override})
    released.workspace.ledger.put(release)
    attest(release, released.workspace, keys)
    decision = next(check for check in verify_release(release, released.workspace).checks if check.name == "decision")
    assert decision.passed is None
    assert "it is only for a demonstration" in decision.why


def test_decision_about_another_checkpoint_fails(released, keys):
    decision = released.decision.model_copy(update={"checkpoint": "a" * 64, "outcome": "fail"})
    release = released.release.model_copy(update={"decision": decision.id})
    for record in (decision, release):
        released.workspace.ledger.put(record)
    attest(release, released.workspace, keys)
    row = next(check for check in verify_release(release, released.workspace).checks if check.name == "decision")
    assert row.passed is False
    assert row.why == "it is about another checkpoint; its outcome is fail"


def test_only_a_release_is_a_release(released):
    assert find_release("ours@staging", released.workspace) == released.release
    with pytest.raises(UnknownRef, match="does not name a release"):
        find_release(released.checkpoint.id, released.workspace)


def test_attestation_is_followed_by_the_lineage_check(signed):
    from trainwright.store.lineage import check_lineage

    released, attestation = signed
    workspace = released.workspace
    assert isinstance(attestation, Attestation)
    assert check_lineage(workspace.ledger, workspace.objects, workspace.runs, attestation.id) == []
    flip(released.object_path(attestation.envelope))
    (finding,) = check_lineage(workspace.ledger, workspace.objects, workspace.runs, attestation.id)
    assert (finding.name, finding.problem) == ("envelope", "damaged")


def test_what_the_decision_rests_on_is_looked_at_too(signed):
    released, _ = signed
    released.object_path(released.evaluation.table).unlink()
    (failed,) = [one for one in verify_release(released.release, released.workspace).checks if one.passed is False]
    assert failed.name == "what it came from"
    assert f"evaluation {released.evaluation.id[:12]}" in failed.why
