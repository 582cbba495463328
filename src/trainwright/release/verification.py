"""Whether a release is what was signed, check by check. Every damage is a row with its reason; nothing is passed over."""

import hashlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.core.errors import AttestationFailed, PackageMissing, TrainwrightError
from trainwright.core.records import Attestation, Decision, Frozen, Release
from trainwright.release.bill_of_materials import check_bill
from trainwright.release.provenance import History, check_statement, read_byproducts, read_subjects
from trainwright.release.signing import (
    PublicKeys,
    check_model,
    open_statement,
    parse_public_keys,
    read_model_signature,
)

BILL_FILE = "bill-of-materials.json"
MODEL_SIGNATURE_FILE = "model.sig"


class TrustCheck(Frozen):
    """One row: what was looked at, and what was found. `passed` None: it was not looked at, and `why` says so."""

    name: str
    passed: bool | None
    why: str


@dataclass(frozen=True)
class Subject:
    """What is checked. `read` gives the bytes of a digest, verified. `folder` holds the model's files; None: not here.

    `trusted` are the ids of signers who are believed; None: nobody said whom to believe.
    """

    history: History
    attestation: Attestation
    read: Callable[[str], bytes]
    folder: Path | None
    trusted: Collection[str] | None


def check_release(subject: Subject) -> Iterator[TrustCheck]:
    """All checks of a signed release, offline. Raises PackageMissing alone; any other fault is a row."""
    attestation, history = subject.attestation, subject.history
    signer = yield from _check_signer(subject)
    statement = yield from _check_envelope(subject, signer)
    yield from _check_files(subject, statement)
    yield from _check_model_signature(subject, signer)
    yield from _check_bill(subject)
    if statement is not None:
        yield _compare(
            "statement", "of this release, its files and all that they came from", check_statement(statement, history)
        )
        signed = {BILL_FILE: attestation.bill_of_materials, MODEL_SIGNATURE_FILE: attestation.model_signature}
        stated = read_byproducts(statement)
        other = [f"{name} is not the one that was signed" for name in signed if stated.get(name) != signed[name]]
        yield _compare("signed together", "model signature and bill of materials are named in the statement", other)


def check_decision(release: Release, decision: Decision | None) -> TrustCheck:
    """The row for what let the release pass: a passing decision for exactly this checkpoint, or a person, who is named."""
    if release.override is not None:
        why = f"{release.override.who} let it pass by an override, because: {release.override.why}"
        return TrustCheck(name="decision", passed=None, why=why)
    if decision is None:
        return TrustCheck(name="decision", passed=False, why="the decision that it names is not on record")
    same = {
        "another checkpoint": decision.checkpoint == release.checkpoint,
        "another name": decision.name == release.name,
        "another stage": decision.stage == release.stage,
    }
    problems = [f"it is about {what}" for what, agrees in same.items() if not agrees]
    problems += [] if decision.outcome == "pass" else [f"its outcome is {decision.outcome}"]
    return _compare("decision", f"{decision.id[:12]} by {decision.who} passed for this checkpoint", problems)


def read_statement(subject: Subject) -> dict[str, Any]:
    """The statement, verified. Raises what reading it raises."""
    signer = parse_public_keys(subject.read(subject.attestation.signer), "The signer's keys")
    return open_statement(subject.read(subject.attestation.envelope), signer)


def require_attested(checks: Sequence[TrustCheck], what: str) -> None:
    """Raises AttestationFailed naming every check that failed."""
    failed = [check for check in checks if check.passed is False]
    if failed:
        raise AttestationFailed(
            f"{what} is not what was signed: {', '.join(dict.fromkeys(check.name for check in failed))}.",
            why="; ".join(f"{check.name}: {check.why}" for check in failed),
            next_step="Do not use it. Restore what is named from a copy, or promote a checkpoint that is whole.",
        )


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_signer(subject: Subject) -> Generator[TrustCheck, None, PublicKeys | None]:
    """Rows for the signer; returns their keys, or None."""
    try:
        signer = parse_public_keys(subject.read(subject.attestation.signer), "The signer's keys")
    except TrainwrightError as error:
        yield _fail("signer", error)
        return None
    known = f"{signer.name} ({signer.id[:12]})"
    if subject.trusted is None:
        why = f"{known}, whose keys came with this: compare the id, or say whom to believe with --public-key"
        yield TrustCheck(name="signer", passed=None, why=why)
    elif signer.id in subject.trusted:
        yield TrustCheck(name="signer", passed=True, why=f"{known} is trusted")
    else:
        yield TrustCheck(name="signer", passed=False, why=f"{known} is not trusted here: trainwright keys trust FILE")
    return signer


def _check_envelope(subject: Subject, signer: PublicKeys | None) -> Generator[TrustCheck, None, dict[str, Any] | None]:
    """A row for the envelope; returns the statement, or None."""
    try:
        data = subject.read(subject.attestation.envelope)
        if signer is None:
            yield TrustCheck(name="envelope", passed=None, why="without the signer's keys")
            return None
        statement = open_statement(data, signer)
    except TrainwrightError as error:
        yield _fail("envelope", error)
        return None
    yield TrustCheck(name="envelope", passed=True, why="the signature is the signer's")
    return statement


def _check_files(subject: Subject, statement: Mapping[str, Any] | None) -> Iterator[TrustCheck]:
    """A row for each file of the model: its bytes against what was signed, or, where that is unreadable, its record."""
    expected = read_subjects(statement) if statement is not None else subject.history.checkpoint.files
    for name, digest in sorted(expected.items()):
        yield check_file(name, digest, subject.folder)


def check_file(name: str, digest: str, folder: Path | None) -> TrustCheck:
    """The row for one file in `folder`, hashed now."""
    if folder is None:
        return TrustCheck(name=name, passed=None, why="the model's files are not here")
    path = folder / name
    if path.parent != folder or not path.is_file():
        return TrustCheck(name=name, passed=False, why="the file is missing")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        why = f"its bytes have changed: SHA-256 {found[:12]} and not {digest[:12]}"
        return TrustCheck(name=name, passed=False, why=why)
    return TrustCheck(name=name, passed=True, why=f"SHA-256 {digest[:12]}")


def _check_model_signature(subject: Subject, signer: PublicKeys | None) -> Iterator[TrustCheck]:
    name = "model signature"
    try:
        signature = subject.read(subject.attestation.model_signature)
        if signer is None:
            yield TrustCheck(name=name, passed=None, why="without the signer's keys")
            return
        signed = read_model_signature(signature, signer)
        if signed != subject.history.checkpoint.files:
            yield TrustCheck(name=name, passed=False, why="it is of other files than the checkpoint's")
            return
        if subject.folder is not None:
            check_model(subject.folder, signature, signer)
    except TrainwrightError as error:
        yield _fail(name, error)
        return
    where = (
        "and of the files' bytes" if subject.folder is not None else "of the digests on record; the files are not here"
    )
    yield TrustCheck(name=name, passed=True, why=f"the signature is the signer's {where}")


def _check_bill(subject: Subject) -> Iterator[TrustCheck]:
    try:
        data = subject.read(subject.attestation.bill_of_materials)
    except TrainwrightError as error:
        yield _fail("bill of materials", error)
        return
    problems = check_bill(data, subject.history.release.weights)
    yield _compare("bill of materials", "as the schema of CycloneDX 1.6 says, of these weights", problems)


def _compare(name: str, agrees: str, problems: Sequence[str]) -> TrustCheck:
    return TrustCheck(name=name, passed=not problems, why="; ".join(problems) or agrees)


def _fail(name: str, error: TrainwrightError) -> TrustCheck:
    """The row for what could not be read or is wrong. That nothing can be checked here is no finding, and is raised."""
    if isinstance(error, PackageMissing):
        raise error
    return TrustCheck(name=name, passed=False, why=f"{error.message} {error.why}".strip())
