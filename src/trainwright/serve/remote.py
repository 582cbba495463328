"""What a manifest of somebody from outside may name: nothing on this machine but what is in the workspace.

Without this, whoever may start a job could have any file of the machine learnt by a model and told by it, or have the service
ask other machines in its name. An admin may, and so may who sits at the machine.
"""

from pathlib import Path
from typing import Any

from trainwright.core.errors import NotPermitted, UnknownRef
from trainwright.core.jobs import Job
from trainwright.core.manifest import Manifest, parse_manifest
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_rules import DEFAULT

_PUBLIC = ("builtin:", "hf://")


def require_within(job: Job, workspace: Workspace) -> None:
    """Raises NotPermitted, naming the key, where a job's manifest leads out of the workspace."""
    manifest = parse_manifest(None, job.overrides, dict(job.manifest))
    for prefix, one in (("", manifest), ("finetune.", manifest.finetune)):
        if one is not None:
            _require_within(one, prefix, Path(job.folder), workspace)


def _require_within(manifest: Manifest, prefix: str, folder: Path, workspace: Workspace) -> None:
    named: dict[str, Any] = {
        "data.corpus": manifest.data.corpus,
        "data.validation": manifest.data.validation,
        "data.traces": manifest.data.traces,
        "data.template": manifest.data.template,
        "tokenizer.path": manifest.tokenizer.path,
        "train.start": manifest.train.start,
        "costs.prices": manifest.costs.prices,
    }
    for key, value in named.items():
        if value is not None and not _is_within(value, folder, workspace):
            raise _refuse(prefix + key, f"{value} is not in the workspace.")
    if manifest.train.allow_pickle:
        raise _refuse(f"{prefix}train.allow_pickle", "A pickled file can do anything to the machine that opens it.")
    if manifest.watch.alerts not in (None, DEFAULT):
        raise _refuse(
            f"{prefix}watch.alerts", "Its channels say what the service writes, to whom, and with which secrets."
        )
    if manifest.watch.folder is not None or manifest.watch.uri is not None:
        raise _refuse(f"{prefix}watch", "Its folder and uri say where the service is to write to.")


def _is_within(text: str, folder: Path, workspace: Workspace) -> bool:
    """A name that leads nowhere by itself, or a path that, its links followed, ends in the workspace."""
    if text.startswith(_PUBLIC):
        return True
    if "://" in text or "\0" in text:
        return False
    if "/" not in text and not text.startswith(".") and not (folder / text).exists():
        return True  # a name: a record's, a ref's, a template's; whoever looks it up says if there is none
    if _is_ref(text, workspace):
        return True
    if ".." in Path(text).parts:
        return False  # after a wild card it could lead anywhere
    # A pattern is followed up to its first wild card: what is matched below a folder lies below it, links aside.
    return (
        (folder / text.split("*", 1)[0].split("?", 1)[0].split("[", 1)[0])
        .resolve()
        .is_relative_to(workspace.root.resolve())
    )


def _is_ref(text: str, workspace: Workspace) -> bool:
    try:
        workspace.ledger.resolve(text)
    except UnknownRef:
        return False
    return True


def _refuse(key: str, why: str) -> NotPermitted:
    return NotPermitted(
        f"{key} leads out of the workspace.",
        why=why,
        next_step="Import what is needed into the workspace first, or ask an admin to start it.",
    )
