"""`trainwright alerts`: list, acknowledge, test, watch."""

import sys
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, who_asks, workspace_root

app = typer.Typer(no_args_is_help=True, add_completion=False)

AlertFile = Annotated[
    str | None,
    typer.Option(
        "--alerts", help="A file of rules and channels. Default: alerts.yaml in the workspace.", show_default=False
    ),
]


@app.command("list")
def list_alerts(
    unacknowledged: Annotated[bool, typer.Option("--open", help="Only those that nobody acknowledged.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """List alerts, newest first, what is still to be delivered, and how each channel is doing."""
    from trainwright.pipeline.alerts import open_book
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        book = open_book(opened)
    alerts = [alert for alert in book.list_alerts() if not unacknowledged or alert.acknowledged_at is None]
    channels, waiting = book.list_channels(), book.list_items()
    if as_json:
        print_json(
            {
                "items": [alert.model_dump(mode="json") for alert in alerts],
                "channels": [state.model_dump(mode="json") for state in channels],
                "num_waiting": len(waiting),
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("alert", "severity", "rule", "of", "what", "at", "acknowledged", box=None)
    for alert in alerts:
        acknowledged = alert.acknowledged_by or (f"held back: {alert.held_back}" if alert.held_back else "")
        cells = (alert.id[:12], alert.severity, alert.rule, alert.name, alert.message, alert.at[:19], acknowledged)
        table.add_row(*(Text(cell) for cell in cells))
    if alerts:
        make_table_console(160).print(table)
    else:
        sys.stdout.write("No alerts.\n")
    for state in channels:
        if state.status != "well":
            sys.stdout.write(
                f"channel {state.name} is {state.status} after {state.num_failures} tries: {state.error}\n"
            )
    if waiting:
        sys.stdout.write(f"{len(waiting)} messages wait to be delivered: `trainwright alerts watch` delivers them.\n")


@app.command("acknowledge")
def acknowledge(
    alert: Annotated[str, typer.Argument(help="An alert's id, or the beginning of it.")],
    why: Annotated[str, typer.Option("--why", help="What was found or done, for the record.", show_default=False)] = "",
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Say that somebody has seen it: it is not sent again."""
    from trainwright.pipeline.alerts import open_book
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.usage import read_now

    with open_workspace(workspace_root(workspace)) as opened:
        found = open_book(opened).acknowledge(alert, who_asks(), read_now(), why)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    sys.stdout.write(f"{found.id[:12]} acknowledged by {found.acknowledged_by}\n")


@app.command("test")
def try_one(
    channel: Annotated[str, typer.Argument(help="A channel of the alert file, by name.")],
    alerts: AlertFile = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Send a test message through a channel, now."""
    from trainwright.pipeline.alerts import try_channel
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        alert = try_channel(channel, alerts, opened)
    if as_json:
        print_json({"channel": channel, "alert": alert.model_dump(mode="json")})
        return
    sys.stdout.write(f"{channel} took it\n")


@app.command("watch")
def watch(
    alerts: AlertFile = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, deliver what waits, and end.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Watch everything in the workspace, and deliver alerts, until interrupted."""
    from trainwright.pipeline.alerts import WorkspaceWatch, find_settings, open_book
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.channels import say_on_stderr

    with open_workspace(workspace_root(workspace)) as opened:
        watching = WorkspaceWatch(opened, find_settings(alerts, opened), say_on_stderr)
        if once:
            watching.look()
        else:
            try:
                watching.watch()
            except KeyboardInterrupt:
                sys.stderr.write("stopped watching\n")
        book = open_book(opened)
        document = {"num_alerts": len(book.list_alerts()), "num_waiting": len(book.list_items())}
    if as_json:
        print_json(document)
