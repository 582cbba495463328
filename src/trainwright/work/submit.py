"""A manifest becomes a job in line."""

import copy
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright.core.errors import UnknownRef
from trainwright.core.jobs import ANY_DEVICE, CPU, Job
from trainwright.core.manifest import NOT_FOR_FINETUNE, Manifest, parse_manifest, read_document
from trainwright.core.records import Plan, Run
from trainwright.pipeline.inspect import find_runs
from trainwright.pipeline.run import name_of
from trainwright.store.ledger import read_clock
from trainwright.store.workspace import Workspace

_MEGA = 1_000_000


def read_job(path: Path | None, overrides: Sequence[str], *, who: str, priority: int = 0) -> Job:
    """A job from a manifest's file and settings on top, as `trainwright run` takes them. Raises what `build_job` raises."""
    parse_manifest(path, overrides)  # what is wrong with the file is said of the file
    document = {} if path is None else read_document(path)
    return build_job(document, overrides, who=who, folder=Path.cwd(), priority=priority)


def build_job(
    document: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    who: str,
    folder: Path,
    framework: str | None = None,
    priority: int = 0,
) -> Job:
    """A job from what a person would write into a manifest's file. Raises what `parse_manifest` raises."""
    asked = copy.deepcopy(dict(document))
    if framework is not None:
        asked["compute"] = {**_as_section(asked.get("compute")), "framework": framework}
    manifest = parse_manifest(None, overrides, copy.deepcopy(asked))
    return Job(
        id=uuid.uuid4().hex,
        name=manifest.name or _name_of(manifest),
        priority=priority,
        manifest=asked,
        overrides=tuple(overrides),
        folder=str(folder.absolute()),
        framework=" or ".join(asked_for) if isinstance(asked_for := manifest.compute.framework, tuple) else asked_for,
        memory_bytes=int((manifest.budgets.training_peak_mb or 0) * _MEGA),
        device=_name_device(manifest),
        submitted_by=who,
        submitted_at=read_clock(),
    )


def _name_device(manifest: Manifest) -> str:
    """What the queue hands out devices by: `cuda` and `auto` are content with any."""
    compute = manifest.compute
    if compute.framework == "reference" or compute.device == CPU:
        return CPU
    return compute.device if ":" in compute.device else ANY_DEVICE


def find_manifest_of(plan_ref: str, workspace: Workspace) -> dict[str, Any]:
    """The manifest that a plan was last asked for with. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(plan_ref))
    plan_id = record.plan if isinstance(record, Run) else record.id
    if not isinstance(record, Plan | Run):
        raise UnknownRef(f"{plan_ref} does not name a plan.", why=f"It names a {record.kind}.")
    for run in find_runs(workspace, plan_id):
        manifest = workspace.find_run_folder(run.id).read_manifest()
        if manifest is not None:
            return _as_written(manifest)
    raise UnknownRef(
        f"Nobody kept the manifest of the plan {plan_id[:12]}.",
        why="No run of it in this workspace has one.",
        next_step="Start it by its manifest.",
    )


def _as_written(manifest: Manifest) -> dict[str, Any]:
    """What a person would have written: a settled manifest repeats what follows from its start or from the first run."""
    document = manifest.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if manifest.train.start is not None:
        document = {key: value for key, value in document.items() if key not in ("model", "tokenizer")}
    tuned = document.get("finetune")
    if tuned is not None:
        document["finetune"] = {key: value for key, value in tuned.items() if key not in NOT_FOR_FINETUNE}
        document["finetune"].get("train", {}).pop("start", None)
    return document


def _as_section(value: Any) -> dict[str, Any]:
    # Anything else is refused by `parse_manifest`, in its own words.
    return dict(value) if isinstance(value, Mapping) else {}


def _name_of(manifest: Manifest) -> str:
    return name_of(manifest.data.traces or manifest.data.corpus)
