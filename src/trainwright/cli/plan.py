"""`trainwright plan`: settle every number of a run and print it, without training."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from trainwright.cli.manifest_options import (
    BatchSize,
    Corpus,
    Epochs,
    Framework,
    LearningRate,
    ManifestPath,
    MaxSeqLength,
    Preset,
    Seed,
    Steps,
    TimeBudget,
    VocabSize,
    read_manifest,
)
from trainwright.cli.options import Json, Overrides, WorkspacePath, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.pipeline.finetune import Planned

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    manifest: ManifestPath = None,
    overrides: Overrides = None,
    corpus: Corpus = None,
    preset: Preset = None,
    vocab_size: VocabSize = None,
    epochs: Epochs = None,
    steps: Steps = None,
    time_budget: TimeBudget = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    max_seq_length: MaxSeqLength = None,
    seed: Seed = None,
    framework: Framework = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Settle every number of a run and print it. Data and tokenizer are prepared, for a plan names them by digest."""
    from trainwright.pipeline.finetune import plan_manifest
    from trainwright.pipeline.journal import Journal
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    settings = read_manifest(
        manifest,
        overrides,
        corpus=corpus,
        preset=preset,
        vocab_size=vocab_size,
        epochs=epochs,
        steps=steps,
        time_budget=time_budget,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_seq_length=max_seq_length,
        seed=seed,
        framework=framework,
    )
    with open_screen() as progress:
        planned = plan_manifest(settings, open_workspace(workspace_root(workspace)), Journal(progress))
    document = _describe(planned[0]) | {"finetune": _describe(planned[1]) if len(planned) > 1 else None}
    if as_json:
        print_json(document)
    else:
        for each in planned:
            _render_choice(each)
        _render(document)


def _describe(planned: "Planned") -> dict[str, Any]:
    from trainwright.prerequisites import estimate_footprint

    plan, choice = planned.prepared.plan, planned.prepared.choice
    settled = plan.model_dump(mode="json")
    return {
        "plan_id": None if planned.unknown else plan.id,
        "plan": settled | {"start": None} if "start" in planned.unknown else settled,
        "num_parameters": plan.model.num_parameters,
        "estimate": estimate_footprint(plan.model, plan.training).model_dump(),
        "choice": None if choice is None else choice.model_dump(mode="json"),
        "unknown": planned.unknown,
    }


def _render_choice(planned: "Planned") -> None:
    """The candidates as a table, as comments: what follows stays YAML."""
    from trainwright.pipeline.publish import describe_choice

    choice = planned.prepared.choice
    if choice is None:
        return
    candidates = map(_describe_candidate, describe_choice(choice)["candidates"])
    rows: list[tuple[str, ...]] = [("framework", "dtype", "compiled", "start", "step", "memory", ""), *candidates]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    sys.stdout.write(f"# {choice.compute.framework}: {choice.reason}\n")
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f"#   {'  '.join(cells).rstrip()}\n")


def _describe_candidate(candidate: dict[str, Any]) -> tuple[str, ...]:
    def seconds(name: str) -> str:
        value = candidate.get(name)
        return "-" if value is None else f"{value:.3g} s"

    memory = candidate.get("peak_rss_bytes")
    return (
        candidate["framework"],
        candidate.get("dtype", "-"),
        {True: "yes", False: "no", None: "-"}[candidate.get("compiled")],
        seconds("start_s"),
        seconds("step_s"),
        "-" if memory is None else f"{memory / 1e6:.0f} MB",
        ", ".join(filter(None, ["taken" * candidate["chosen"], candidate["why_not"]])),
    )


def _render(document: dict[str, Any]) -> None:
    """YAML reads better than JSON, and holds the same."""
    import yaml

    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
