"""What a release was made of, in the words of others: an in-toto statement with SLSA provenance.

Statement v1: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Provenance v1:
https://slsa.dev/spec/v1.0/provenance. A record's id is the SHA-256 of its canonical JSON, so it stands as a digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.core.records import Checkpoint, Plan, Record, Release, Run

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:trainwright:build:1"
"""`externalParameters` are `plan` (a Plan record) and `release` (a Release record); `resolvedDependencies` are records."""


@dataclass(frozen=True)
class History:
    """A release and all that it came from. `materials` are the other records between the source text and the checkpoint."""

    release: Release
    checkpoint: Checkpoint
    run: Run
    plan: Plan
    materials: Sequence[Record]


def name_record(record: Record) -> str:
    """A record as a URI."""
    return f"urn:trainwright:{record.kind}:{record.id}"


def build_statement(
    history: History,
    *,
    environment: Mapping[str, Any],
    finished_at: str | None,
    byproducts: Mapping[str, str],
) -> dict[str, Any]:
    """The statement. `byproducts` is {name: SHA-256} of what else is to be believed because this is signed.

    Equal arguments give an equal document. `finished_at` None: nobody recorded it, and it is left out.
    """
    run, release = history.run, history.release
    versions = {"trainwright": environment.get("trainwright"), "python": _read_python(environment)}
    metadata = {"invocationId": name_record(run), "startedOn": run.started_at, "finishedOn": finished_at}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_describe_file(name, digest) for name, digest in sorted(history.checkpoint.files.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "plan": history.plan.model_dump(mode="json"),
                    "release": release.model_dump(mode="json"),
                },
                "internalParameters": {"checkpoint": history.checkpoint.id, "step": history.checkpoint.step},
                "resolvedDependencies": [
                    {"uri": name_record(record), "name": record.kind, "digest": {"sha256": record.id}}
                    for record in _list_dependencies(history)
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:trainwright:builder",
                    "version": {name: version for name, version in versions.items() if version is not None},
                },
                "metadata": {key: value for key, value in metadata.items() if value is not None},
                "byproducts": [_describe_file(name, digest) for name, digest in sorted(byproducts.items())],
            },
        },
    }


def read_byproducts(statement: Mapping[str, Any]) -> dict[str, str]:
    """{name: SHA-256} of a statement's byproducts; what is not of that form is left out."""
    details = _dig(statement, "predicate", "runDetails")
    return _read_files(details.get("byproducts"))


def check_statement(statement: Mapping[str, Any], history: History) -> list[str]:
    """What the statement says that the records do not: empty where they agree."""
    definition = _dig(statement, "predicate", "buildDefinition")
    parameters = _dig(definition, "externalParameters")
    dependencies = definition.get("resolvedDependencies")
    named = {
        str(digest["sha256"])
        for each in (dependencies if isinstance(dependencies, list) else [])
        if isinstance(each, dict) and isinstance(digest := each.get("digest"), dict) and "sha256" in digest
    }
    wanted = {record.id for record in _list_dependencies(history)}
    expected = {
        "it is no in-toto statement": statement.get("_type") == STATEMENT_TYPE,
        "it is no SLSA provenance": statement.get("predicateType") == PREDICATE_TYPE,
        "it is of another release": parameters.get("release") == history.release.model_dump(mode="json"),
        "it names another plan": parameters.get("plan") == history.plan.model_dump(mode="json"),
        "its files are not those of the checkpoint": read_subjects(statement) == history.checkpoint.files,
        "it was made of other records": named == wanted,
    }
    return [problem for problem, agrees in expected.items() if not agrees]


def read_subjects(statement: Mapping[str, Any]) -> dict[str, str]:
    """{file: SHA-256} of what a statement is about."""
    return _read_files(statement.get("subject"))


def _list_dependencies(history: History) -> list[Record]:
    records = {record.id: record for record in (*history.materials, history.plan)}
    return [records[record_id] for record_id in sorted(records, key=lambda each: (records[each].kind, each))]


def _describe_file(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _read_files(value: Any) -> dict[str, str]:
    files = value if isinstance(value, list) else []
    return {
        str(file.get("name")): str(file["digest"].get("sha256"))
        for file in files
        if isinstance(file, dict) and isinstance(file.get("digest"), dict)
    }


def _dig(value: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _read_python(environment: Mapping[str, Any]) -> str | None:
    version = _dig(environment, "python").get("version")
    return version if isinstance(version, str) else None
