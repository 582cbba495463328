"""`trainwright release`: ask the gates, promote, roll back, and see what stood where."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli import release_trust
from trainwright.cli.keys import KeysFolder
from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, who_asks, workspace_root

if TYPE_CHECKING:
    from trainwright.core.records import Decision, GateResult
    from trainwright.pipeline.promote import Moved
    from trainwright.release.signing import SigningKeys

app = typer.Typer(add_completion=False, no_args_is_help=True)
release_trust.register(app)

Name = Annotated[str, typer.Argument(help="The model's name, for example stories.")]
StageName = Annotated[str, typer.Argument(help="staging or production.", metavar="STAGE")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the history.", show_default=False)]


@app.command()
def gate(
    name: Name,
    stage: StageName,
    ref: Annotated[str, typer.Argument(help="The candidate: a run, a checkpoint, RUN@STEP, or a ref.")],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", help="A policy's file, or a shipped one. Default: the one of the stage.", metavar="FILE"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, and put nothing on record.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Judge a candidate by a policy: exit code 0 where every gate passes, 6 where one does not."""
    from trainwright.pipeline.decide import decide, require_passed
    from trainwright.release.policy import open_policy
    from trainwright.release.registry import parse_stage
    from trainwright.store.workspace import open_workspace

    wanted = parse_stage(stage)
    opened = open_workspace(workspace_root(workspace))
    decision = decide(name, wanted, ref, open_policy(policy or stage), opened, who=who_asks(), dry_run=dry_run)
    if as_json:
        require_passed(decision)
        print_json({"decision_id": decision.id, "recorded": not dry_run, **decision.model_dump(mode="json")})
        return
    _render_decision(decision, dry_run=dry_run)
    require_passed(decision)


@app.command()
def show(
    decision: Annotated[str, typer.Argument(help="A decision's id, or the beginning of it.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show a decision that is on record, whatever came of it."""
    from trainwright.pipeline.promote import find_decision
    from trainwright.store.workspace import open_workspace

    found = find_decision(decision, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json({"decision_id": found.id, "recorded": True, **found.model_dump(mode="json")})
        return
    _render_decision(found, dry_run=False)


@app.command()
def promote(
    name: Name,
    stage: StageName,
    ref: Annotated[
        str | None, typer.Argument(help="The candidate. Default: the one decided on last.", show_default=False)
    ] = None,
    override: Annotated[
        str | None,
        typer.Option("--override", help="Promote without a passing decision, for this reason.", metavar="REASON"),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="Take only a decision by this policy, as it is now.", metavar="FILE"),
    ] = None,
    why: Why = "",
    keys: KeysFolder = None,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Leave the release unsigned, and visibly so.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Let a checkpoint that passed its gates stand at a stage, after everything behind it was hashed again."""
    from trainwright.pipeline.promote import promote as promote_model
    from trainwright.release.policy import open_policy
    from trainwright.release.registry import parse_stage
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    moved = promote_model(
        name,
        parse_stage(stage),
        opened,
        who=who_asks(),
        why=why if override is None else override,
        ref=ref,
        override=override is not None,
        policy=None if policy is None else open_policy(policy),
        keys=None if no_sign else _open_keys(keys),
    )
    _report_move(moved, "promoted" if override is None else "promoted by an override", as_json=as_json)


@app.command()
def rollback(
    name: Name,
    stage: StageName,
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="A revision's number. Default: the one before.", show_default=False),
    ] = None,
    why: Why = "",
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Let what stood there before stand there again. What is taken away comes back only by an override."""
    from trainwright.pipeline.promote import roll_back
    from trainwright.release.registry import parse_stage
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    moved = roll_back(name, parse_stage(stage), opened, who=who_asks(), why=why, to=to)
    _report_move(moved, "rolled back", as_json=as_json)


@app.command()
def history(name: Name, stage: StageName, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Every move of a stage, numbered: who, when, why, from, to, and the decision behind it."""
    from rich.markup import escape
    from rich.table import Table

    from trainwright.release.registry import list_revisions, parse_stage
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    revisions = [one.as_document() for one in list_revisions(name, parse_stage(stage), opened.ledger)]
    if as_json:
        print_json({"items": revisions, "next": None})
        return
    table = Table(title=escape(f"{name}@{stage}"), title_justify="left", expand=False)
    for heading in ("revision", "", "checkpoint", "decision", "from", "when", "who", "why"):
        table.add_column(heading)
    for row in revisions:
        ids = [(row[key] or "none")[:12] for key in ("checkpoint", "decision", "from")]
        table.add_row(
            str(row["revision"]), row["action"], *ids, row["at"][:19], *(escape(row[k]) for k in ("who", "why"))
        )
    make_table_console(140).print(table)


def _open_keys(folder: Path | None) -> "SigningKeys | None":
    """The keys to sign with, made where there are none; None, said aloud, where what signs is not installed."""
    from trainwright.core.errors import PackageMissing
    from trainwright.pipeline.keys import locate_keys, open_or_make_keys

    try:
        signer, were_made = open_or_make_keys(locate_keys(folder))
    except PackageMissing as error:
        sys.stderr.write(f"the release is not signed: {error.message} {error.next_step}\n")
        return None
    if were_made:
        sys.stderr.write(f"new keys for {signer.public.name} were made in {locate_keys(folder)}: keep them\n")
    return signer


def _report_move(moved: "Moved", how: str, *, as_json: bool) -> None:
    if as_json:
        print_json(moved.as_document())
        return
    release = moved.release
    make_table_console(100).print(
        f"{how}: checkpoint {release.checkpoint[:12]} stands at {release.name}@{release.stage} (release {release.id[:12]})",
        soft_wrap=True,
    )


# ── a decision as a table ─────────────────────────────────────────────────────────────────────────────────────────────
def _render_decision(decision: "Decision", *, dry_run: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = make_table_console(150)
    title = f"{decision.name}@{decision.stage}: checkpoint {decision.checkpoint[:12]}"
    table = Table(title=escape(title), title_justify="left", expand=False)
    for heading, justify in (
        ("gate", "left"),
        ("measured", "right"),
        ("baseline", "right"),
        ("", "left"),
        ("why", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for result in decision.gates:
        table.add_row(*map(escape, _list_cells(result)))
    for one in decision.conditions:
        table.add_row(escape(one.name), "", "", one.outcome, escape(one.why))
    console.print(table)
    if len(decision.all_evaluations) > 1:
        console.print(f"evaluations of this checkpoint on record: {len(decision.all_evaluations)}")
    recorded = "not recorded (dry run)" if dry_run else f"decision {decision.id[:12]}"
    console.print(f"[bold]{decision.outcome}[/bold]  {recorded}", soft_wrap=True)


def _list_cells(result: "GateResult") -> list[str]:
    gate = result.gate
    part = f" {result.part}" if result.part else ""
    wanted = {
        "at_least": f"≥ {gate.limit:g}" if gate.limit is not None else "",
        "at_most": f"≤ {gate.limit:g}" if gate.limit is not None else "",
        "non_inferior": f"no worse by {gate.margin:g}{' of it' if gate.relative else ''}"
        if gate.margin is not None
        else "",
        "superior": "better",
    }[gate.kind]
    settle = f"; about {result.items_to_settle:,} items would settle it" if result.items_to_settle else ""
    return [
        f"{gate.suite}{part}: {gate.metric} {wanted}",
        _show(None if result.candidate is None else result.candidate.value),
        _show(None if result.baseline is None else result.baseline.value),
        result.outcome,
        result.why + settle,
    ]


def _show(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
