"""`trainwright release attest`, `verify` and `evidence`: what proves a release, and whether it still does."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.cli.keys import KeysFolder
from trainwright.cli.options import Json, Overwrite, WorkspacePath, make_table_console, print_json, workspace_root
from trainwright.core.errors import UsageError

if TYPE_CHECKING:
    from trainwright.release.verification import TrustCheck

ReleaseRef = Annotated[str, typer.Argument(help="NAME@STAGE, or a release's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the group `release`."""
    app.command("attest")(attest)
    app.command("verify")(verify)
    app.command("evidence")(evidence)


def attest(
    release: ReleaseRef, keys: KeysFolder = None, workspace: WorkspacePath = None, as_json: Json = False
) -> None:
    """Sign a release: provenance, model signature, bill of materials."""
    from trainwright.pipeline.attest import attest as attest_release
    from trainwright.pipeline.attest import find_release
    from trainwright.pipeline.keys import locate_keys, open_or_make_keys
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    found = find_release(release, opened)
    folder = locate_keys(keys)
    signer, were_made = open_or_make_keys(folder)
    if were_made:
        sys.stderr.write(f"new keys for {signer.public.name} were made in {folder}: keep them\n")
    attestation = attest_release(found, opened, signer)
    if as_json:
        print_json({"attestation_id": attestation.id, **attestation.model_dump(mode="json", exclude={"kind"})})
        return
    sys.stdout.write(f"{found.name}@{found.stage} signed by {signer.public.name} ({signer.public.id[:12]})\n")


def verify(
    release: Annotated[
        str | None, typer.Argument(help="NAME@STAGE, or a release's id; not with --evidence.", show_default=False)
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence", help="A folder or zip file of evidence, checked from itself alone.", show_default=False
        ),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--public-key",
            help="With --evidence: a signer to believe, as `keys export` wrote it (repeatable).",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Check a release against what was signed, without a network: signatures, every file, bill of materials."""
    from trainwright.release.verification import require_attested

    if (release is None) == (evidence is None) or (public_key and evidence is None):
        raise UsageError(
            "A release or --evidence is needed, and not both; --public-key goes with --evidence.",
            next_step="trainwright release verify NAME@STAGE, or: trainwright release verify --evidence FOLDER",
        )
    document, checks = (
        _verify_evidence(evidence, public_key or [])
        if evidence is not None
        else _verify_release(str(release), workspace_root(workspace))
    )
    what = str(evidence if evidence is not None else release)
    if not as_json:
        _render(what, checks)
    require_attested(checks, what)
    if as_json:
        print_json({**document, "checks": [check.model_dump(mode="json") for check in checks]})


def evidence(
    release: ReleaseRef,
    output: Annotated[Path, typer.Option("--output", help="The folder to make, or a file that ends in .zip.")],
    with_weights: Annotated[bool, typer.Option("--with-weights", help="Put the model's files into it too.")] = False,
    overwrite: Overwrite = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Write everything an auditor needs about a release into one folder or zip file."""
    from trainwright.pipeline.attest import find_release
    from trainwright.pipeline.evidence import write_release_evidence
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    found = find_release(release, opened)
    written = write_release_evidence(found, output, opened, with_weights=with_weights, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "release": found.id,
                "path": str(output.resolve()),
                "num_files": written.num_files,
                "missing": written.missing,
            }
        )
        return
    for each in written.missing:
        sys.stderr.write(f"not in it: {each['what']}: {each['why']}\n")
    sys.stdout.write(f"{output}: {written.num_files} files\n")


def _verify_release(ref: str, root: Path) -> "tuple[dict[str, Any], Sequence[TrustCheck]]":
    from trainwright.pipeline.attest import find_release, verify_release
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(root)
    verified = verify_release(find_release(ref, opened), opened)
    return _describe(verified.release.id, verified.attestation.id, verified.attestation.signer), verified.checks


def _verify_evidence(path: Path, public_keys: list[Path]) -> "tuple[dict[str, Any], Sequence[TrustCheck]]":
    from trainwright.pipeline.evidence import verify_evidence
    from trainwright.pipeline.keys import read_public_keys

    trusted = {read_public_keys(file).id for file in public_keys} if public_keys else None
    verified = verify_evidence(path, trusted)
    attestation = verified.attestation
    described = (attestation.id, attestation.signer) if attestation is not None else (None, None)
    return _describe(verified.release.id, *described), verified.checks


def _describe(release_id: str, attestation_id: str | None, signer: str | None) -> dict[str, Any]:
    return {"release": release_id, "attestation": attestation_id, "signer": signer}


def _render(what: str, checks: "Sequence[TrustCheck]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(what), title_justify="left", expand=False)
    for heading in ("check", "", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        outcome = {True: "pass", False: "FAIL", None: "not checked"}[check.passed]
        table.add_row(escape(check.name), outcome, escape(check.why))
    make_table_console(110).print(table)
