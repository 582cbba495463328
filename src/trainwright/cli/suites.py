"""`trainwright suites`: list those that come along, show what one asks."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.cli.options import Json, make_table_console, print_json

if TYPE_CHECKING:
    from trainwright.evaluate.suites import OpenedSuite

app = typer.Typer(no_args_is_help=True, add_completion=False)
NUM_SHOWN = 3


@app.command("list")
def list_suites(as_json: Json = False) -> None:
    """List the suites that come along."""
    from trainwright.evaluate.suites import list_builtin_suites, open_suite

    suites = [open_suite(name) for name in list_builtin_suites()]
    if as_json:
        print_json({"items": [_describe(suite) for suite in suites]})
        return
    from rich.table import Table

    table = Table(box=None)
    for heading, justify in (("suite", "left"), ("items", "right"), ("by", "left"), ("scorers", "left"), ("", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for suite in suites:
        said = suite.suite
        scorers = ", ".join(said.scorers) if said.by == "generation" else ""
        table.add_row(said.name, f"{len(suite.items):,}", said.by, scorers, said.description)
    make_table_console(120).print(table)


@app.command("show")
def show_suite(
    suite: Annotated[str, typer.Argument(help="A suite that comes along, or the file of one.", metavar="NAME|FILE")],
    as_json: Json = False,
) -> None:
    """Show what a suite asks, how it is asked and scored, and what its results are broken down by."""
    from trainwright.evaluate.suites import open_suite

    opened = open_suite(suite)
    if as_json:
        print_json(_describe(opened))
        return
    said = opened.suite
    lines = {
        "suite": f"{said.name}, version {said.version}, {opened.digest[:12]}",
        "": said.description,
        "items": f"{len(opened.items):,} from {opened.path.parent / said.items.path} ({said.items.format})",
        "by": said.by,
        "template": repr(said.template),
    }
    if said.by == "generation":
        lines |= {
            "decoding": ", ".join(f"{key} {value}" for key, value in said.decoding.model_dump().items()),
            "scorers": ", ".join(said.scorers),
        }
    clusters = {item.cluster_id for item in opened.items} - {None}
    lines["clusters"] = f"{len(clusters):,}" if clusters else "none: items are independent"
    for name, counts in _count_slices(opened).items():
        lines[f"by {name}"] = ", ".join(f"{value} {count}" for value, count in counts.items())
    for key, text in lines.items():
        sys.stdout.write(f"{key:<14}{text}\n")
    sys.stdout.write("\n")
    for item in opened.items[:NUM_SHOWN]:
        sys.stdout.write(f"  {item.id}: {' '.join((item.prompt or ' / '.join(item.choices or ())).split())[:100]}\n")


def _describe(opened: "OpenedSuite") -> dict[str, Any]:
    """What `suites show --json` prints, and each row of `suites list --json`."""
    return {
        "suite_id": opened.digest,
        "file": str(opened.path),
        **opened.document,
        "num_clusters": len({item.cluster_id for item in opened.items} - {None}),
        "num_by_slice": _count_slices(opened),
    }


def _count_slices(opened: "OpenedSuite") -> dict[str, dict[str, int]]:
    """{slice: {value: how many items}}."""
    counted = {name: Counter(item.slices.get(name) for item in opened.items) for name in opened.slices}
    return {
        name: {value: count for value, count in sorted(counts.items(), key=str) if value is not None}
        for name, counts in counted.items()
        if counts.keys() - {None}
    }
