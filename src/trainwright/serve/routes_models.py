"""Models by name: where they stand, and moving them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import Field

from trainwright.core.errors import NotPermitted
from trainwright.core.records import Frozen, Stage
from trainwright.pipeline.decide import decide
from trainwright.pipeline.keys import find_keys
from trainwright.pipeline.models import list_models, show_model
from trainwright.pipeline.promote import promote, roll_back
from trainwright.pipeline.use import find_model
from trainwright.release.policy import SHIPPED, open_policy
from trainwright.release.registry import list_revisions
from trainwright.serve.access import Approver, Operator
from trainwright.serve.context import Opened
from trainwright.store.checkpoints import MODEL_FILE

router = APIRouter(prefix="/api/models", tags=["models"])

Why = Annotated[str, Field(max_length=2000)]
Ref = Annotated[str, Field(min_length=1, max_length=200)]


class GateRequest(Frozen):
    """A candidate to be judged."""

    stage: Stage
    ref: Ref
    policy: str | None = Field(default=None, min_length=1, max_length=500)
    dry_run: bool = False


class PromoteRequest(Frozen):
    """A checkpoint that is to stand at a stage: the one decided on last, or `ref`."""

    stage: Stage
    ref: Ref | None = None
    why: Why = ""
    override: bool = False
    sign: bool = True


class RollbackRequest(Frozen):
    """A stage that is to go back: to what stood there before, or to a revision."""

    stage: Stage
    to: int | None = Field(default=None, ge=1, lt=2**31)
    why: Why = ""


@router.get("")
def read_models(workspace: Opened) -> dict[str, Any]:
    """Every place where a model stands."""
    return {"items": list_models(workspace), "next": None}


@router.get("/{name}")
def read_model(name: str, workspace: Opened) -> dict[str, Any]:
    """All about a name: its places, its gates, every move."""
    return show_model(name, workspace)


@router.get("/{name}/versions")
def read_versions(name: str, workspace: Opened) -> dict[str, Any]:
    """Every place of a name, with what stands there now."""
    return {"items": show_model(name, workspace)["places"], "next": None}


@router.get("/{name}/history")
def read_history(name: str, stage: Stage, workspace: Opened) -> dict[str, Any]:
    """Every move of a stage, numbered."""
    return {"items": [one.as_document() for one in list_revisions(name, stage, workspace.ledger)], "next": None}


@router.get("/{name}/download", response_class=FileResponse)
def download(
    name: str, workspace: Opened, stage: Annotated[str, Query(pattern=r"^[a-z]{1,32}$")] = "production"
) -> FileResponse:
    """The weights of what stands at a stage (or `latest`), verified before they are sent."""
    model = find_model(f"{name}@{stage}", workspace)
    return FileResponse(model.path / MODEL_FILE, filename=f"{name}-{stage}.safetensors")


@router.post("/{name}/gate", status_code=201)
def ask_gate(name: str, body: GateRequest, caller: Operator, workspace: Opened) -> dict[str, Any]:
    """Judge a candidate. The answer is the decision, whatever it says: `outcome` is pass, fail or inconclusive."""
    if body.policy is not None and body.policy not in SHIPPED and not caller.may("admin"):
        raise NotPermitted(
            "A policy of one's own is for the role admin.",
            why="Whoever writes the policy decides what passes, and names a file of this machine.",
            next_step=f"Name one of {', '.join(SHIPPED)}.",
        )
    policy = open_policy(body.policy or body.stage)
    decision = decide(name, body.stage, body.ref, policy, workspace, who=caller.name, dry_run=body.dry_run)
    return {"decision_id": decision.id, "recorded": not body.dry_run, **decision.model_dump(mode="json")}


@router.post("/{name}/promote")
def promote_model(name: str, body: PromoteRequest, caller: Approver, workspace: Opened) -> dict[str, Any]:
    """Let a checkpoint stand at a stage, after everything behind it was hashed again."""
    moved = promote(
        name,
        body.stage,
        workspace,
        who=caller.name,
        why=body.why,
        ref=body.ref,
        override=body.override,
        keys=find_keys() if body.sign else None,
    )
    return moved.as_document()


@router.post("/{name}/rollback")
def roll_back_model(name: str, body: RollbackRequest, caller: Approver, workspace: Opened) -> dict[str, Any]:
    """Let what stood there before stand there again."""
    return roll_back(name, body.stage, workspace, who=caller.name, why=body.why, to=body.to).as_document()
