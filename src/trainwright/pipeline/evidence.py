"""Everything an auditor needs about a release in one folder or zip file, and its verification from that alone.

What is signed: the statement, which names by digest the release, its plan, data and environment, and what the run left. A
record is named by its digest and names others so; an evaluation names its table. So one signature holds all of it. Not signed
are the history of the ref and the pages for people, and the verification says so.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainwright.core.errors import (
    EvidenceUnreadable,
    ObjectMissing,
    RecordDamaged,
    TraceForgotten,
    TrainwrightError,
    TrainwrightTooOld,
    UnknownRef,
)
from trainwright.core.records import (
    Attestation,
    Decision,
    Drift,
    Evaluation,
    Forgotten,
    Outcome,
    Record,
    Release,
    Report,
    Verdict,
    parse_record,
)
from trainwright.pipeline.attest import (
    ENVIRONMENT_FILE,
    EVENTS_FILE,
    METRICS_FILE,
    REPORT_FILE,
    find_attestation,
    gather_history,
    list_ancestors,
    list_children,
    locate_checkpoint,
)
from trainwright.pipeline.evaluate import require_new
from trainwright.pipeline.models import build_model_card
from trainwright.pipeline.publish import require_free
from trainwright.pipeline.recall import typed
from trainwright.release.document import Document, Section, Table, render_html, render_markdown
from trainwright.release.evidence import (
    FORMAT,
    INDEX_FILE,
    SUMS_FILE,
    Content,
    check_sums,
    open_evidence,
    write_evidence,
)
from trainwright.release.provenance import History, read_byproducts
from trainwright.release.verification import (
    BILL_FILE,
    MODEL_SIGNATURE_FILE,
    Subject,
    TrustCheck,
    check_decision,
    check_release,
    read_statement,
)
from trainwright.store.checkpoints import require_intact
from trainwright.store.ledger import MemoryLedger
from trainwright.store.lineage import label_record
from trainwright.store.workspace import Workspace

RECORDS = "records"
SIGNED = "signed"
RUN = "run"
EVALUATIONS = "evaluations"
CHECKPOINT = "checkpoint"
HISTORY_FILE = "ref-history.json"
README_FILE = "README.html"
CARD_FILE = "model-card"
PAGES_WHY = f"{README_FILE} and {CARD_FILE} are not signed: for people to read, and the records are what counts"


@dataclass(frozen=True)
class Written:
    """Evidence that was written: where, how many files, and what could not be put into it."""

    path: Path
    num_files: int
    missing: list[dict[str, str]]


@dataclass(frozen=True)
class VerifiedEvidence:
    """Evidence that was checked: the release that it is of, and each check."""

    release: Release
    attestation: Attestation | None
    checks: tuple[TrustCheck, ...]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def write_release_evidence(
    release: Release, output: Path, workspace: Workspace, *, with_weights: bool, overwrite: bool
) -> Written:
    """Write the evidence of a release. What cannot be put into it is named in it.

    Raises OutputExists, InvalidValue, ObjectDamaged, CheckpointDamaged (with weights), DiskFull, NotWritable.
    """
    if output.suffix.lower() == ".zip":
        require_new(output, overwrite=overwrite)
    else:
        require_free(output, workspace, overwrite=overwrite)
    attestation = find_attestation(release, workspace)
    history = gather_history(release, workspace.ledger)
    gathering = _Gathering(workspace)
    records = _gather_records(release, attestation, workspace)
    gathering.add_records(records)
    if attestation is not None:
        gathering.add_signed(attestation)
        gathering.add_byproducts(_read_signed_byproducts(history, attestation, workspace))
    else:
        gathering.add_object(f"{RUN}/{ENVIRONMENT_FILE}", history.run.environment)
    for record in records:
        if isinstance(record, Evaluation):
            gathering.add_evaluation(record)
    if with_weights:
        gathering.add_checkpoint(history)
    gathering.add_history(release)
    gathering.add_pages(release)
    contents = gathering.finish(release, attestation, with_weights=with_weights)
    write_evidence(contents, output, replace=overwrite)
    return Written(output, len(contents) + 1, gathering.missing)


def _gather_records(release: Release, attestation: Attestation | None, workspace: Workspace) -> list[Record]:
    """Everything the release came from, and what was found out about it on the way, each once."""
    ledger = workspace.ledger
    checkpoint = ledger.get(release.checkpoint)
    run_id = dict(ledger.parents(checkpoint.id))["run"]
    ids = [release.id, *list_ancestors(release.id, ledger)]
    if release.decision is not None:
        ids += typed(ledger.get(release.decision), Decision).all_evaluations
    beside: list[Record] = [
        *list_children(checkpoint.id, Report, ledger),
        *list_children(checkpoint.id, Evaluation, ledger),
        *list_children(run_id, Outcome, ledger),
        *list_children(run_id, Drift, ledger),
        *list_children(run_id, Verdict, ledger),
        *(
            receipt
            for each in list_ancestors(checkpoint.id, ledger)
            for receipt in list_children(each, Forgotten, ledger)
        ),
        *([attestation] if attestation is not None else []),
    ]
    found: dict[str, Record] = {}
    for record_id in ids:
        try:
            found[record_id] = ledger.get(record_id)
        except UnknownRef:
            continue  # it is named by its children, and the verification misses it
    return list((found | {record.id: record for record in beside}).values())


def _read_signed_byproducts(history: History, attestation: Attestation, workspace: Workspace) -> dict[str, str]:
    return read_byproducts(read_statement(Subject(history, attestation, workspace.objects.get, None, None)))


class _Gathering:
    """Contents of evidence as they come together, and what could not be had."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.contents: dict[str, Content] = {}
        self.missing: list[dict[str, str]] = []

    def add_object(self, name: str, digest: str) -> None:
        try:
            self.contents[name] = self.workspace.objects.get(digest)
        except (ObjectMissing, TraceForgotten) as error:
            self.missing.append({"what": name, "digest": digest, "why": f"{error.message} {error.why}"})

    def add_records(self, records: list[Record]) -> None:
        for record in records:
            name = f"{RECORDS}/{record.kind}-{record.id}.json"
            self.contents[name] = _render_json(record.model_dump(mode="json"))

    def add_signed(self, attestation: Attestation) -> None:
        self.add_object(f"{SIGNED}/envelope.json", attestation.envelope)
        self.add_object(f"{SIGNED}/signer.json", attestation.signer)
        self.add_object(f"{SIGNED}/{MODEL_SIGNATURE_FILE}", attestation.model_signature)
        self.add_object(f"{SIGNED}/{BILL_FILE}", attestation.bill_of_materials)

    def add_byproducts(self, byproducts: dict[str, str]) -> None:
        """What the run left, as it was when it was signed. Of the events only the digest: they may be large."""
        for name in (ENVIRONMENT_FILE, METRICS_FILE, REPORT_FILE):
            if name in byproducts:
                self.add_object(f"{RUN}/{name}", byproducts[name])
            else:
                self.missing.append(
                    {"what": f"{RUN}/{name}", "digest": "", "why": "It was not there when it was signed."}
                )
        if EVENTS_FILE in byproducts:
            self.contents[f"{RUN}/{EVENTS_FILE}.sha256"] = _render_events_digest(byproducts[EVENTS_FILE])

    def add_evaluation(self, record: Evaluation) -> None:
        place = f"{EVALUATIONS}/{record.id[:12]}"
        for name, digest in _name_objects(record).items():
            self.add_object(f"{place}/{name}", digest)

    def add_checkpoint(self, history: History) -> None:
        folder = locate_checkpoint(history, self.workspace)
        require_intact(folder, expected=history.checkpoint)
        self.contents |= {f"{CHECKPOINT}/{name}": folder / name for name in history.checkpoint.files}

    def add_history(self, release: Release) -> None:
        ref = f"{release.name}@{release.stage}"
        moves = self.workspace.ledger.ref_history(ref)
        rows = [
            {"number": number, "from": move.from_id, "to": move.to_id, "at": move.at, "who": move.who, "why": move.why}
            for number, move in enumerate(moves, start=1)
        ]
        self.contents[HISTORY_FILE] = _render_json({"ref": ref, "moves": rows})

    def add_pages(self, release: Release) -> None:
        card = build_model_card(release.id, self.workspace)
        self.contents[f"{CARD_FILE}.md"] = render_markdown(card).encode()
        self.contents[f"{CARD_FILE}.html"] = render_html(card).encode()

    def finish(self, release: Release, attestation: Attestation | None, *, with_weights: bool) -> dict[str, Content]:
        index = {
            "format": FORMAT,
            "release": release.id,
            "attestation": attestation.id if attestation is not None else None,
            "with_weights": with_weights,
            "missing": self.missing,
        }
        self.contents[INDEX_FILE] = _render_json(index)
        page = _build_readme(release, attestation, sorted(self.contents), self.missing)
        self.contents[README_FILE] = render_html(page).encode()
        return self.contents


def _render_events_digest(digest: str) -> bytes:
    return f"{digest}  {EVENTS_FILE}\n".encode()


def _name_objects(record: Evaluation) -> dict[str, str]:
    """{file name: digest} of an evaluation's objects."""
    names = {"items.jsonl": record.items, "prompts.jsonl": record.prompts, "table.jsonl": record.table}
    optional = {"predictions.jsonl": record.predictions, "suite.yaml": record.suite}
    return names | {name: digest for name, digest in optional.items() if digest is not None}


def _build_readme(
    release: Release, attestation: Attestation | None, names: list[str], missing: list[dict[str, str]]
) -> Document:
    signed = "It is not signed: nothing here proves where it came from."
    if attestation is not None:
        signed = f"It is signed by {attestation.signer}. Ask the signer for this id by another way than this came."
    facts = (
        ("release", release.id),
        ("stage", f"{release.name}@{release.stage}"),
        ("checkpoint", release.checkpoint),
        ("weights (SHA-256)", release.weights),
        ("decision", release.decision or "none: a person let it pass"),
    )
    meanings = (
        ("model-card.html", "what is on record about the model, for people"),
        ("records/", "every record that the release came from; the SHA-256 of a record's canonical JSON is its id"),
        ("run/", "the environment, the metrics and the report of the run, and the digest of its events"),
        ("evaluations/", "items, prompts as the model read them, and the score of every item"),
        (
            "signed/",
            "the statement in its envelope, the model signature, the bill of materials, the signer's public keys",
        ),
        (HISTORY_FILE, "when the name came to stand where, by whom, and why. It is not signed"),
        (SUMS_FILE, "the SHA-256 of every file: sha256sum --check SHA256SUMS"),
    )
    commands = (
        "trainwright release verify --evidence FOLDER\ntrainwright release verify --evidence FOLDER --public-key FILE"
    )
    sections = (
        Section("The release", sentences=(signed,), facts=facts),
        Section("How to check it", sentences=("Without a network, and without a workspace:",), verbatim=commands),
        Section("What is here", facts=meanings),
        Section(
            "What is not here",
            sentences=() if missing else ("Nothing is missing that is on record.",),
            tables=(Table(("what", "why"), tuple((each["what"], each["why"]) for each in missing)),) if missing else (),
        ),
        Section("Files", points=tuple(names)),
    )
    return Document(f"Evidence: {release.name}@{release.stage}", f"Release {release.id}", sections)


def _render_json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


# ── verifying ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def verify_evidence(path: Path, trusted: Collection[str] | None) -> VerifiedEvidence:
    """Check evidence from itself alone. `trusted` are the ids of signers who are believed; None: nobody said.

    Raises EvidenceUnreadable where it is none, PackageMissing.
    """
    with open_evidence(path) as folder:
        sums, intact = check_sums(folder, path)
        index = _read_index(folder, set(intact.values()))
        ledger, problems = _read_records(folder, intact)
        try:
            release = typed(ledger.get(index["release"]), Release)
            history = gather_history(release, ledger)
        except (UnknownRef, TypeError) as error:
            named = "; ".join(f"{row.name}: {row.why}" for row in (*sums, *problems) if row.passed is False)
            raise EvidenceUnreadable(
                f"{path} does not hold the records of its release.",
                why=f"{error}" + (f" Damaged: {named}" if named else ""),
                next_step="Ask for the evidence again, from whoever wrote it.",
            ) from error
        reader = _Reader(intact)
        checks = [*sums, *problems, _check_ancestors(release, ledger), *_check_beside(release, ledger)]
        decision = _read_decision(release, ledger)
        checks.append(check_decision(release, decision))
        checks += _check_evaluations(ledger, reader, index["missing"])
        signed = list_children(release.id, Attestation, ledger)
        attestation = next((each for each in signed if each.id == index["attestation"]), None)
        if attestation is None:
            checks.append(TrustCheck(name="signature", passed=False, why="it is not signed"))
        else:
            weights = folder / CHECKPOINT if index["with_weights"] else None
            subject = Subject(history, attestation, reader.read, weights, trusted)
            checks += [*check_release(subject), *_check_byproducts(subject, reader, folder)]
        checks.append(TrustCheck(name="ref history", passed=None, why="it is not signed; it says what the ledger said"))
        checks.append(TrustCheck(name="pages", passed=None, why=PAGES_WHY))
    return VerifiedEvidence(release, attestation, tuple(checks))


class _Reader:
    """Bytes of evidence by their digest: only files whose digest was found right."""

    def __init__(self, intact: dict[str, Path]) -> None:
        self.intact = intact

    def has(self, digest: str) -> bool:
        return digest in self.intact

    def read(self, digest: str) -> bytes:
        if digest not in self.intact:
            raise ObjectMissing(
                "It is not here, or not as it was.", why=f"No intact file has the digest {digest[:12]}."
            )
        return self.intact[digest].read_bytes()


def _read_index(folder: Path, intact: Collection[Path]) -> dict[str, Any]:
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_bytes())
        number = index["format"]
        if isinstance(number, int) and number > FORMAT:
            raise TrainwrightTooOld(
                "This evidence was written by a newer Trainwright.",
                why=f"It has format {number}; this Trainwright reads format {FORMAT}.",
                next_step="Upgrade: pip install --upgrade trainwright",
            )
        if number != FORMAT:
            raise ValueError(f"its format is {number!r}")
        if path not in intact:
            raise ValueError("its bytes are not those that are listed")
        return {key: index[key] for key in ("release", "attestation", "with_weights", "missing")}
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceUnreadable(
            f"{INDEX_FILE} cannot be used.",
            why=f"{type(error).__name__}: {error}.",
            next_step="Ask for the evidence again, from whoever wrote it.",
        ) from error


def _read_records(folder: Path, intact: dict[str, Path]) -> tuple[MemoryLedger, list[TrustCheck]]:
    """The records, each named by what it holds, and rows for those that are not."""
    ledger, rows, num_good = MemoryLedger(), [], 0
    paths = sorted(path for path in intact.values() if path.parent == folder / RECORDS)
    for path in paths:
        try:
            ledger.put(parse_record(json.loads(path.read_bytes()), path.stem.rpartition("-")[2]))
            num_good += 1
        except (ValueError, ValidationError, AttributeError, RecordDamaged, TrainwrightTooOld) as error:
            rows.append(TrustCheck(name=f"{RECORDS}/{path.name}", passed=False, why=" ".join(str(error).split())[:300]))
    why = f"{num_good} of {len(paths)} records are what their ids say"
    return ledger, [TrustCheck(name="records", passed=not rows, why=why), *rows]


def _check_ancestors(release: Release, ledger: MemoryLedger) -> TrustCheck:
    here = set(ledger.ids())
    named = list_ancestors(release.id, ledger)
    absent = [record_id[:12] for record_id in named if record_id not in here]
    why = f"not here: {', '.join(absent)}" if absent else f"all {len(named)} records that it came from are here"
    return TrustCheck(name="lineage", passed=not absent, why=why)


def _check_beside(release: Release, ledger: MemoryLedger) -> Iterator[TrustCheck]:
    """A row for the records that the release did not come from: nothing that is signed names them."""
    signed = {release.id, *list_ancestors(release.id, ledger)}
    beside = [ledger.get(each) for each in ledger.ids() if each not in signed]
    named = ", ".join(f"{record.kind} {record.id[:12]}" for record in beside if not isinstance(record, Attestation))
    if named:
        why = f"not signed, and others may have been left out: {named}"
        yield TrustCheck(name="records beside it", passed=None, why=why)


def _read_decision(release: Release, ledger: MemoryLedger) -> Decision | None:
    if release.decision is None:
        return None
    try:
        record = ledger.get(release.decision)
    except UnknownRef:
        return None
    return record if isinstance(record, Decision) else None


def _check_evaluations(ledger: MemoryLedger, reader: _Reader, missing: Any) -> Iterator[TrustCheck]:
    """A row for each evaluation: its items, prompts and table are those that its record names."""
    told = {each.get("digest") for each in missing if isinstance(each, dict)}
    for stored in reversed(ledger.find("evaluation", limit=len(ledger.ids()))):
        record = typed(stored.record, Evaluation)
        absent = [name for name, digest in _name_objects(record).items() if not reader.has(digest)]
        untold = [name for name in absent if _name_objects(record)[name] not in told]
        name = f"evaluation {record.id[:12]}"
        if untold:
            yield TrustCheck(name=name, passed=False, why=f"not here, or not as on record: {', '.join(untold)}")
        elif absent:
            why = f"{', '.join(absent)} could not be put into the evidence"
            yield TrustCheck(name=name, passed=None, why=why)
        else:
            yield TrustCheck(
                name=name, passed=True, why=f"{label_record(record)}: items, prompts and table are as on record"
            )


def _check_byproducts(subject: Subject, reader: _Reader, folder: Path) -> Iterator[TrustCheck]:
    """A row for each file of the run: it is the one that the signed statement names."""
    try:
        byproducts = read_byproducts(read_statement(subject))
    except TrainwrightError:
        return  # what is wrong with the envelope has a row already
    for name in (ENVIRONMENT_FILE, METRICS_FILE, REPORT_FILE):
        if name in byproducts:
            here = reader.has(byproducts[name])
            why = "as it was signed" if here else "it is not here as it was signed"
            yield TrustCheck(name=f"{RUN}/{name}", passed=here, why=why)
    if EVENTS_FILE in byproducts:
        path = folder / RUN / f"{EVENTS_FILE}.sha256"
        same = path.is_file() and path.read_bytes() == _render_events_digest(byproducts[EVENTS_FILE])
        yield TrustCheck(
            name=f"{RUN}/{path.name}", passed=same, why="as it was signed" if same else "it is not the signed digest"
        )
