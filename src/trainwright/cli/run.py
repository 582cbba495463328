"""`trainwright run`: text to a model in one command."""

from pathlib import Path
from typing import Annotated

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
from trainwright.cli.options import AllowDrift, Json, Overrides, Overwrite, WorkspacePath, may_overwrite, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def run(
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
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Copy the plain artefacts here.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    skip_corpus: Annotated[
        bool, typer.Option("--skip-corpus", help="Reuse the corpus; never read its source.")
    ] = False,
    skip_tokenizer: Annotated[
        bool, typer.Option("--skip-tokenizer", help="Reuse the tokenizer; never train it.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of this plan.")
    ] = False,
    allow_drift: AllowDrift = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train even where this plan was fulfilled before.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Answer yes to every question (none is ever asked without a terminal).")
    ] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Text to a trained, validated, reported model, in one command."""
    from trainwright.cli.outcome import report_completed
    from trainwright.pipeline.finetune import run_manifest
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.run import Options
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
    replace = may_overwrite(output_dir, overwrite, yes)
    options = Options(
        output_dir, replace, skip_corpus, skip_tokenizer, resume, retrain, allow_drift=tuple(allow_drift or ())
    )
    with open_screen() as progress:
        opened = open_workspace(workspace_root(workspace))
        completed = run_manifest(settings, opened, Journal(progress), [progress], options)
    report_completed(completed, as_json=as_json)
