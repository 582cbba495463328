"""Evidence holds everything, is the same bytes for the same release, and is checked from itself alone."""

import json
import shutil
import zipfile

import pytest

from trainwright.core.errors import EvidenceUnreadable, InvalidValue, OutputExists, TrainwrightTooOld
from trainwright.core.hashing import digest_bytes
from trainwright.pipeline.attest import attest
from trainwright.pipeline.evidence import verify_evidence, write_release_evidence
from trainwright.release.evidence import render_sums


def write(released, output, **options):
    options = {"with_weights": False, "overwrite": False} | options
    return write_release_evidence(released.release, output, released.workspace, **options)


def outcomes(path, trusted=None) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verify_evidence(path, trusted).checks}


def failed(path, trusted=None) -> set[str]:
    return {name for name, passed in outcomes(path, trusted).items() if passed is False}


def relist(folder) -> None:
    """What somebody does who changes evidence and knows about the list."""
    (folder / "SHA256SUMS").write_bytes(render_sums(folder))


@pytest.fixture
def evidence(signed, tmp_path):
    """The evidence of a signed release, as a folder; the workspace is gone."""
    released, _ = signed
    write(released, tmp_path / "evidence")
    shutil.rmtree(released.workspace.root)
    return tmp_path / "evidence"


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_everything_that_an_auditor_needs_is_in_it(signed, tmp_path):
    released, attestation = signed
    written = write(released, tmp_path / "evidence")
    names = {path.relative_to(tmp_path / "evidence").as_posix() for path in (tmp_path / "evidence").rglob("*.*")}
    kinds = {name.removeprefix("records/").rsplit("-", 1)[0] for name in names if name.startswith("records/")}
    assert kinds == {
        *("dataset", "tokenizer", "token-set", "plan", "run", "checkpoint", "report", "outcome", "evaluation"),
        *("policy", "decision", "release", "attestation"),
    }
    assert {name for name in names if not name.startswith("records/")} == {
        *("README.html", "evidence.json", "ref-history.json", "model-card.md", "model-card.html"),
        *("run/environment.json", "run/training_metrics.json", "run/report.html", "run/events.jsonl.sha256"),
        *(f"evaluations/{released.evaluation.id[:12]}/{name}.jsonl" for name in ("items", "prompts", "table")),
        *(f"signed/{name}" for name in ("envelope.json", "signer.json", "model.sig", "bill-of-materials.json")),
    }
    assert written.num_files == len(names) + 1  # and the list of digests
    assert written.missing == []
    history = json.loads((tmp_path / "evidence" / "ref-history.json").read_bytes())
    assert [(move["to"], move["why"]) for move in history["moves"]] == [(released.release.id, "it passed")]
    page = (tmp_path / "evidence" / "README.html").read_text(encoding="utf-8")
    assert attestation.signer in page
    assert "http" not in page.replace("http-equiv", "")


def test_equal_releases_give_equal_bytes(signed, tmp_path):
    released, _ = signed
    for name in ("one.zip", "two.zip"):
        write(released, tmp_path / name, with_weights=True)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    write(released, tmp_path / "folder", with_weights=True)
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        for name in archive.namelist():
            assert (tmp_path / "folder" / name).read_bytes() == archive.read(name), name


def test_nothing_is_overwritten_unasked(signed, tmp_path):
    released, _ = signed
    for name in ("evidence", "evidence.zip"):
        write(released, tmp_path / name)
        with pytest.raises(OutputExists):
            write(released, tmp_path / name)
        write(released, tmp_path / name, overwrite=True)
    with pytest.raises(InvalidValue, match="cannot be the output folder"):
        write(released, released.workspace.root / "evidence")


def test_what_cannot_be_had_is_named(signed, tmp_path):
    released, _ = signed
    released.object_path(released.evaluation.prompts).unlink()
    written = write(released, tmp_path / "evidence")
    (missing,) = written.missing
    assert missing["what"] == f"evaluations/{released.evaluation.id[:12]}/prompts.jsonl"
    assert outcomes(tmp_path / "evidence")[f"evaluation {released.evaluation.id[:12]}"] is None
    assert missing["what"] in (tmp_path / "evidence" / "README.html").read_text(encoding="utf-8")


# ── verifying ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_evidence_alone_is_enough(evidence, keys):
    found = outcomes(evidence, {keys.public.id})
    assert {name for name, passed in found.items() if passed is None} == {
        *(
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
            "manifest.json",
            "ref history",
            "pages",
            "records beside it",
        ),
    }
    assert False not in found.values()


def test_signer_that_nobody_vouched_for_is_said_to_be_unchecked(evidence, keys, other_keys):
    assert outcomes(evidence)["signer"] is None
    assert failed(evidence, {other_keys.public.id}) == {"signer"}


def test_with_weights_every_file_is_hashed_and_the_model_signature_held_against_them(signed, tmp_path):
    released, _ = signed
    for name in ("evidence", "evidence.zip"):
        write(released, tmp_path / name, with_weights=True)
        assert {outcomes(tmp_path / name)[each] for each in ("model.safetensors", "model signature")} == {True}
    path = tmp_path / "evidence" / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    relist(tmp_path / "evidence")
    assert failed(tmp_path / "evidence") == {"model.safetensors", "model signature"}


def test_any_changed_missing_or_additional_file_is_named(evidence):
    names = [path.relative_to(evidence).as_posix() for path in sorted(evidence.rglob("*")) if path.is_file()]
    kept = [
        name for name in names if name.split("/")[0] in ("signed", "run", "evaluations", "model-card.md", "README.html")
    ]
    assert len(kept) > 10
    for name in kept:
        data = (evidence / name).read_bytes()
        (evidence / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert {name, "digests"} <= failed(evidence)
        (evidence / name).write_bytes(data)
    (evidence / "more.txt").write_text("", encoding="utf-8")
    (evidence / "model-card.md").unlink()
    assert failed(evidence) == {"digests", "more.txt", "model-card.md"}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("signed/envelope.json", {"envelope"}),
        ("signed/bill-of-materials.json", {"bill of materials"}),
        ("signed/model.sig", {"model signature"}),
        ("signed/signer.json", {"signer"}),
        ("run/environment.json", {"run/environment.json"}),
        ("run/training_metrics.json", {"run/training_metrics.json"}),
        ("run/events.jsonl.sha256", {"run/events.jsonl.sha256"}),
    ],
)
def test_a_change_with_a_new_list_is_found_by_what_was_signed(evidence, name, rows):
    data = (evidence / name).read_bytes()
    (evidence / name).write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    relist(evidence)
    assert failed(evidence) == rows


def test_a_better_score_with_a_new_list_is_found(evidence, signed):
    released, _ = signed
    table = evidence / "evaluations" / released.evaluation.id[:12] / "table.jsonl"
    table.write_bytes(table.read_bytes().replace(b'"score":0.0', b'"score":1.0'))
    relist(evidence)
    assert failed(evidence) == {f"evaluation {released.evaluation.id[:12]}"}


def test_a_changed_record_is_found_by_its_id(evidence, signed):
    released, _ = signed
    path = evidence / "records" / f"evaluation-{released.evaluation.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"num_items": 4', b'"num_items": 400'))
    relist(evidence)
    assert failed(evidence) == {f"records/{path.name}", "records", "lineage"}


def test_a_decision_cannot_be_exchanged(evidence, signed):
    released, _ = signed
    path = evidence / "records" / f"decision-{released.decision.id}.json"
    document = json.loads(path.read_bytes()) | {"who": "somebody else"}
    path.unlink()
    from trainwright.core.records import parse_record

    other = parse_record(document)
    (evidence / "records" / f"decision-{other.id}.json").write_text(json.dumps(document), encoding="utf-8")
    relist(evidence)
    assert failed(evidence) == {"lineage", "decision"}


def test_without_the_release_itself_it_is_no_evidence(evidence, signed):
    released, _ = signed
    (evidence / "records" / f"checkpoint-{released.checkpoint.id}.json").unlink()
    with pytest.raises(EvidenceUnreadable, match="does not hold the records of its release") as raised:
        verify_evidence(evidence, None)
    assert f"checkpoint-{released.checkpoint.id}" in raised.value.why


def test_evidence_of_an_unsigned_release_says_so(released, tmp_path):
    write(released, tmp_path / "evidence")
    assert failed(tmp_path / "evidence") == {"signature"}
    assert "not signed" in (tmp_path / "evidence" / "README.html").read_text(encoding="utf-8")


def test_evidence_whose_signature_was_taken_out_does_not_pass(evidence):
    index = json.loads((evidence / "evidence.json").read_bytes()) | {"attestation": None}
    (evidence / "evidence.json").write_text(json.dumps(index), encoding="utf-8")
    relist(evidence)
    assert failed(evidence) == {"signature"}


def test_history_of_releases_is_in_it(signed, keys, tmp_path):
    released, _ = signed
    workspace = released.workspace
    following = released.release.model_copy(update={"previous": released.release.id})
    workspace.ledger.put(following)
    attest(following, workspace, keys)
    workspace.ledger.move_ref("ours@staging", following.id, expected=released.release.id, who="someone", why="again")
    write_release_evidence(following, tmp_path / "evidence", workspace, with_weights=False, overwrite=False)
    assert failed(tmp_path / "evidence") == set()
    assert len(list((tmp_path / "evidence" / "records").glob("release-*.json"))) == 2
    assert len(json.loads((tmp_path / "evidence" / "ref-history.json").read_bytes())["moves"]) == 2


# ── what is no evidence ───────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_no_evidence_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
    for name, why in (("empty", "SHA256SUMS"), ("text.zip", "unpacked"), ("nothing.zip", "not there")):
        with pytest.raises(EvidenceUnreadable) as raised:
            verify_evidence(tmp_path / name, None)
        assert why in raised.value.why
        assert raised.value.exit_code == 5


def test_damaged_zip_names_the_file(signed, tmp_path):
    released, _ = signed
    write(released, tmp_path / "evidence.zip")
    data = (tmp_path / "evidence.zip").read_bytes()
    place = data.index(b"# Model card")
    (tmp_path / "evidence.zip").write_bytes(data[:place] + b"!" + data[place + 1 :])
    with pytest.raises(EvidenceUnreadable) as raised:
        verify_evidence(tmp_path / "evidence.zip", None)
    assert "model-card.md" in raised.value.why


def test_zip_that_reaches_outside_itself_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evidence.zip", "w") as archive:
        archive.writestr("../outside.txt", "x")
    with pytest.raises(EvidenceUnreadable, match="no evidence") as raised:
        verify_evidence(tmp_path / "evidence.zip", None)
    assert "outside itself" in raised.value.why
    assert not (tmp_path.parent / "outside.txt").exists()


def test_zip_that_would_become_very_large_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "evidence.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (8 << 20))
    with pytest.raises(EvidenceUnreadable) as caught:
        verify_evidence(tmp_path / "evidence.zip", None)
    assert "would become 8,388,608" in caught.value.why


def test_a_broken_list_in_a_zip_names_the_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "evidence.zip", "w") as archive:
        archive.writestr("SHA256SUMS", "nothing\n")
        archive.writestr("evidence.json", "{}")
    with pytest.raises(EvidenceUnreadable, match=r"evidence\.zip"):
        verify_evidence(tmp_path / "evidence.zip", None)


def test_what_no_signature_holds_is_said_to_be_unchecked(evidence):
    checks = {check.name: check for check in verify_evidence(evidence, None).checks}
    assert [checks[name].passed for name in ("records beside it", "ref history", "pages")] == [None, None, None]
    assert "report " in checks["records beside it"].why


def test_list_that_reaches_outside_is_refused(evidence):
    secret = evidence.parent / "secret.txt"
    secret.write_bytes(b"x")
    with (evidence / "SHA256SUMS").open("a", encoding="utf-8") as sums:
        sums.write(f"{digest_bytes(b'x')}  ../secret.txt\n")
    with pytest.raises(EvidenceUnreadable):
        verify_evidence(evidence, None)


def test_a_link_is_no_file_of_the_evidence(evidence):
    card = evidence / "model-card.md"
    kept = evidence.parent / "card.md"
    card.rename(kept)
    card.symlink_to(kept)
    assert failed(evidence) == {"digests", "model-card.md"}


def test_newer_or_broken_index_is_refused(evidence):
    index = json.loads((evidence / "evidence.json").read_bytes())
    refused = (({"format": 2}, TrainwrightTooOld), ({"format": "x"}, EvidenceUnreadable))
    for change, error in refused:
        (evidence / "evidence.json").write_text(json.dumps(index | change), encoding="utf-8")
        relist(evidence)
        with pytest.raises(error):
            verify_evidence(evidence, None)
