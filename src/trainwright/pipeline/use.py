"""What a trained model is for: writing text, and leaving for somewhere else."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainwright.backends.catalogue import open_backend
from trainwright.core.errors import UnknownRef
from trainwright.core.manifest import Manifest
from trainwright.core.records import Checkpoint, Release, Run, Start
from trainwright.core.seeds import derive_seed
from trainwright.evaluate.generation import Decoding
from trainwright.pipeline.asking import open_asking
from trainwright.pipeline.imported import import_origin, is_model_folder, read_model_weights
from trainwright.pipeline.inspect import outcome_of
from trainwright.pipeline.origin import Origin
from trainwright.pipeline.prepare import Prepared, load_prepared
from trainwright.pipeline.publish import export_huggingface, require_free
from trainwright.pipeline.validate import read_best
from trainwright.store.checkpoints import (
    has_manifest_of,
    held_path,
    list_checkpoints,
    locate_checkpoint,
    read_checkpoint,
    read_record,
)
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint and everything it came from."""

    run: Run
    prepared: Prepared
    folder: RunFolder
    step: int
    path: Path


def find_model(ref: str, workspace: Workspace) -> TrainedModel:
    """The model that `ref` names: `name@latest`, a release (`name@production`), a run (its best checkpoint), RUN@STEP, or
    a checkpoint's id.

    Raises UnknownRef or AmbiguousRef; CheckpointDamaged where its bytes are not what they were.
    """
    run_ref, _, step_text = ref.partition("@")
    if step_text.isdigit():
        run = _as_run(workspace.ledger.get(workspace.ledger.resolve(run_ref)), ref)
        return _at_step(run, int(step_text), workspace)
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if isinstance(record, Release):
        record = workspace.ledger.get(record.checkpoint)
    if isinstance(record, Checkpoint):
        return _at_record(_as_run(workspace.ledger.get(record.run), ref), record, workspace)
    run = _as_run(record, ref)
    outcome = outcome_of(run, workspace)
    checkpoint = workspace.ledger.get(outcome.checkpoint) if outcome is not None and outcome.checkpoint else None
    if isinstance(checkpoint, Checkpoint):
        return _at_record(run, checkpoint, workspace)
    _, content = read_best(workspace.find_run_folder(run.id), None)
    return _at_step(run, content.position.step, workspace)


def find_checkpoint(ref: str, workspace: Workspace) -> Checkpoint:
    """The record of the checkpoint that `ref` names, its files verified. Raises as `find_model` does."""
    return read_checkpoint(find_model(ref, workspace).path).record


def find_origin_of(manifest: Manifest, workspace: Workspace) -> Origin | None:
    """What `train.start` names, its files verified; None where nothing is named. A folder is a model that was made elsewhere.

    Raises as `find_model` and `import_origin` do, and CheckpointDamaged.
    """
    start = manifest.train.start
    if start is None:
        return None
    if is_model_folder(start):
        return import_origin(manifest, workspace)
    model = find_model(start, workspace)
    source = Start(source=read_checkpoint(model.path).record.id, mode="weights")
    return Origin(model.prepared.plan.model, model.prepared.tokenizer, source)


def generate(model: TrainedModel, prompt: str, decoding: Decoding, workspace: Workspace) -> Iterator[str]:
    """The text that follows `prompt` (the answer, where the model learnt to answer), in pieces, as it is written."""
    prepared = model.prepared
    compute = prepared.plan.compute.for_writing()
    shape = prepared.plan.model
    weights = read_model_weights(shape, model.path, workspace)
    opened = open_backend(compute.framework).open_model(shape, weights, compute)
    asking = open_asking(prepared, workspace)
    stream = asking.tokenizer.stream_decoder()
    said = ""
    for token in asking.iter_answer(opened, asking.encode(prompt), decoding):
        said += (piece := stream.feed(token))
        if not asking.end_text:
            yield piece
    if asking.end_text:  # it may be cut off at a text that comes piece by piece, so nothing is shown before
        yield asking.finish(said + stream.finish())
    else:
        yield stream.finish()


def export(
    model: TrainedModel, output_dir: Path, workspace: Workspace, *, overwrite: bool, adapter_alone: bool = False
) -> list[Path]:
    """Write the model as a Hugging Face folder: an adapter worked into its model, or alone. Raises InvalidValue without one."""
    require_free(output_dir, workspace, overwrite=overwrite)
    return export_huggingface(
        model.prepared, model.path, output_dir, workspace, overwrite=overwrite, adapter_alone=adapter_alone
    )


def default_seed(model: TrainedModel) -> int:
    """The seed that `generate` draws from where none is given."""
    return derive_seed(model.prepared.plan.seed, "generate")


def _as_run(record: object, ref: str) -> Run:
    if not isinstance(record, Run):
        raise UnknownRef(
            f"{ref} does not name a model.",
            why=f"It names a {getattr(record, 'kind', 'thing of another kind')}.",
            next_step="Name a run, a checkpoint, or a ref such as stories@latest; `trainwright runs list` shows the runs.",
        )
    return record


def _at_step(run: Run, step: int, workspace: Workspace) -> TrainedModel:
    folder = workspace.find_run_folder(run.id)
    kept = dict(list_checkpoints(folder.checkpoints_path))
    if step not in kept:
        raise UnknownRef(
            f"Run {run.id[:12]} keeps no checkpoint of step {step}.",
            why=f"It keeps those of the steps {', '.join(str(step) for step in kept) or '(none)'}.",
            next_step="Name one of these.",
        )
    return TrainedModel(run, load_prepared(workspace, folder.read_plan()), folder, step, kept[step])


def _at_record(run: Run, record: Checkpoint, workspace: Workspace) -> TrainedModel:
    """The model of that very record: its step may have been computed again since."""
    folder = workspace.find_run_folder(run.id)
    path = locate_checkpoint(folder.checkpoints_path, record)
    if path == held_path(folder.checkpoints_path, record):
        return TrainedModel(run, load_prepared(workspace, folder.read_plan()), folder, record.step, path)
    model = _at_step(run, record.step, workspace)
    if not has_manifest_of(path, record) and read_record(path).id != record.id:
        raise UnknownRef(
            f"Run {run.id[:12]} no longer keeps the checkpoint {record.id[:12]} of step {record.step}.",
            why="The step was computed again after a rollback, and nothing stood on what it was before.",
            next_step=f"Name what the step is now: {run.id[:12]}@{record.step}",
        )
    return model
