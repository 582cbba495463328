"""Moving a release: promote on a passing decision, roll back to what stood before, and what is made sure of first.

Before a ref moves, everything behind the release is read and hashed again; the move is a compare-and-swap against the release
that the decision was made against, so that of many promotions that race, one wins and the others are told.
"""

from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import (
    GateRefused,
    InvalidValue,
    NotDecided,
    RefMoved,
    ReleaseDamaged,
    ReleasePinned,
    StageSkipped,
    UnknownRef,
)
from trainwright.core.records import STAGES, Checkpoint, Decision, Override, Policy, Release, Stage
from trainwright.pipeline.attest import attest, find_damage
from trainwright.pipeline.soundness import check_moves
from trainwright.pipeline.use import find_checkpoint
from trainwright.release.registry import (
    Revision,
    describe_move,
    find_pinned,
    list_revisions,
    name_ref,
    read_current,
    require_current,
)
from trainwright.release.signing import SigningKeys
from trainwright.store.ledger import RefMove
from trainwright.store.workspace import Workspace

NUM_NAMED = 5


@dataclass(frozen=True)
class Moved:
    """A release that stands at its stage now, and the move that put it there."""

    release: Release
    move: RefMove

    def as_document(self) -> dict[str, Any]:
        """What `release promote --json` and the service say of it: the move, and the release's fields."""
        named = {key: value for key, value in describe_move(self.move).items() if key != "to"}
        return {"release_id": self.release.id, **named, **self.release.model_dump(mode="json")}


def promote(
    name: str,
    stage: Stage,
    workspace: Workspace,
    *,
    who: str,
    why: str,
    ref: str | None = None,
    override: bool = False,
    policy: Policy | None = None,
    keys: SigningKeys | None = None,
) -> Moved:
    """Let the checkpoint that was decided on (or that `ref` names) stand at a stage, signed by `keys` before it does.

    With a `policy`, only a decision by exactly that one will do.

    `override` lets it stand there without a passing decision, or although it is pinned or was not at the stage before; `why`
    is then the reason, which may not be empty. Raises NotDecided, RefMoved, ReleasePinned, StageSkipped, ReleaseDamaged,
    GateRefused (the policy asks for a signature, and there are no keys).
    """
    if override and not why.strip():
        raise InvalidValue("An override needs a reason.", next_step="Say why, with --override 'the reason'.")
    current = read_current(name, stage, workspace.ledger)
    checkpoint = None if ref is None else find_checkpoint(ref, workspace)
    decision = _find_decision(name, stage, checkpoint, workspace)
    if checkpoint is None:
        checkpoint = _read_candidate(decision, name, stage, workspace)
    if not override:
        decision = _require_decided(decision, current, name, stage)
        _require_policy(decision, policy, name, stage)
        _require_not_pinned(checkpoint.weights, name, stage, workspace)
        _require_in_order(checkpoint, name, stage, workspace)
        if keys is None:
            _require_no_signature(decision, workspace)
    is_passing = decision is not None and decision.outcome == "pass" and decision.replaces == _id_of(current)
    release = Release(
        name=name,
        stage=stage,
        checkpoint=checkpoint.id,
        weights=checkpoint.weights,
        decision=decision.id if decision is not None and is_passing else None,
        previous=_id_of(current),
        override=Override(who=who, why=why) if override else None,
    )
    require_intact(release, workspace)
    workspace.ledger.put(release)
    if keys is not None:
        attest(release, workspace, keys)
    return _move(release, current, workspace, who=who, why=why or "the decision allows it")


def roll_back(name: str, stage: Stage, workspace: Workspace, *, who: str, why: str, to: int | None = None) -> Moved:
    """Let a release that stood at a stage before (the one before the current one, or revision `to`) stand there again.

    What it takes away is pinned. Raises UnknownRef (nothing there, no such revision), ReleasePinned (it was rolled back
    itself), ReleaseDamaged, RefMoved.
    """
    current = require_current(name, stage, workspace.ledger)
    target = _find_target(list_revisions(name, stage, workspace.ledger), current, to)
    _require_not_pinned(target.weights, name, stage, workspace)
    require_intact(target, workspace)
    return _move(target, current, workspace, who=who, why=why or "rolled back")


def require_intact(release: Release, workspace: Workspace) -> None:
    """Read and hash everything behind a release, and compare the moves of its stages with the ledger's file.

    What is pinned, and what stood at staging, is known from these alone. Raises ReleaseDamaged, naming what is wrong.
    """
    findings = [
        *find_damage(release, workspace),
        *(finding for stage in STAGES for finding in check_moves(workspace, name_ref(release.name, stage))),
    ]
    if findings:
        listed = "; ".join(
            f"{one.kind} {one.record_id[:12]}, {one.name}: {one.problem}" if one.record_id else f"{one.name}: {one.why}"
            for one in findings[:NUM_NAMED]
        )
        raise ReleaseDamaged(
            f"{release.name}@{release.stage}: {len(findings)} things behind it are not what its records say.",
            why=f"{listed}{' …' if len(findings) > NUM_NAMED else ''}.",
            next_step="Restore them from a copy, or train the plan again; nothing was moved.",
        )


# ── what a promotion needs ────────────────────────────────────────────────────────────────────────────────────────────
def _find_decision(name: str, stage: Stage, checkpoint: Checkpoint | None, workspace: Workspace) -> Decision | None:
    """The newest decision for this stage of this name, about this checkpoint where one is named."""
    after = None
    while page := workspace.ledger.find("decision", limit=100, after=after):
        for stored in page:
            decision = stored.record
            if (
                isinstance(decision, Decision)
                and (decision.name, decision.stage) == (name, stage)
                and (checkpoint is None or decision.checkpoint == checkpoint.id)
            ):
                return decision
        after = page[-1].record.id
    return None


def _read_candidate(decision: Decision | None, name: str, stage: Stage, workspace: Workspace) -> Checkpoint:
    if decision is None:
        raise _not_decided(name, stage, "Nothing was decided for this stage of this name yet.")
    record = workspace.ledger.get(decision.checkpoint)
    assert isinstance(record, Checkpoint)
    return record


def _require_decided(decision: Decision | None, current: Release | None, name: str, stage: Stage) -> Decision:
    if decision is None:
        raise _not_decided(name, stage, "There is no decision about this checkpoint at this stage.")
    if decision.outcome != "pass":
        raise _not_decided(name, stage, f"The newest decision, {decision.id[:12]}, is {decision.outcome}.")
    if decision.replaces != _id_of(current):
        raise RefMoved(
            f"{name_ref(name, stage)} was moved since decision {decision.id[:12]} was made.",
            why=f"It was made against {_say(decision.replaces)}, and now {_say(_id_of(current))} stands there.",
            next_step=f"Ask the gates again: trainwright release gate {name} {stage} {decision.checkpoint[:12]}",
        )
    return decision


def _require_policy(decision: Decision, policy: Policy | None, name: str, stage: Stage) -> None:
    if policy is not None and decision.policy != policy.id:
        raise _not_decided(
            name, stage, f"Decision {decision.id[:12]} was made by another policy, or by this one before it was edited."
        )


def _require_not_pinned(weights: str, name: str, stage: Stage, workspace: Workspace) -> None:
    revision = find_pinned(list_revisions(name, stage, workspace.ledger)).get(weights)
    if revision is not None:
        raise ReleasePinned(
            f"The weights {weights[:12]} were rolled back from {name_ref(name, stage)}.",
            why=f"Revision {revision.number}, on {revision.move.at[:10]} by {revision.move.who}: {revision.move.why}.",
            next_step=f"If that is meant, promote them with --override: trainwright release promote {name} {stage} REF",
        )


def _require_in_order(checkpoint: Checkpoint, name: str, stage: Stage, workspace: Workspace) -> None:
    if stage == "staging":
        return
    staged = list_revisions(name, "staging", workspace.ledger)
    if checkpoint.weights not in {revision.release.weights for revision in staged}:
        raise StageSkipped(
            f"Checkpoint {checkpoint.id[:12]} never stood at {name_ref(name, 'staging')}.",
            why="A model goes through staging before production.",
            next_step=f"trainwright release gate {name} staging {checkpoint.id[:12]}",
        )


def _require_no_signature(decision: Decision, workspace: Workspace) -> None:
    policy = workspace.ledger.get(decision.policy)
    if isinstance(policy, Policy) and policy.require_signature:
        raise GateRefused(
            f"The policy {policy.name} lets only signed releases stand at {decision.stage}.",
            why="There is no key to sign with, or what signs is not installed.",
            next_step="pip install 'trainwright[signing]', and leave out --no-sign",
        )


def _find_target(revisions: list[Revision], current: Release, to: int | None) -> Release:
    if to is None:
        earlier = [revision.release for revision in revisions if revision.release.id == current.previous]
        if not earlier:
            raise UnknownRef(
                f"Nothing stood at {name_ref(current.name, current.stage)} before.",
                why="The current release is the first one.",
                next_step="Promote another checkpoint.",
            )
        return earlier[-1]
    found = [revision.release for revision in revisions if revision.number == to]
    if not found or found[0].id == current.id:
        raise UnknownRef(
            f"{name_ref(current.name, current.stage)} cannot go back to revision {to}.",
            why="It stands there now." if found else f"There are revisions 1 to {len(revisions)}.",
            next_step=f"trainwright release history {current.name} {current.stage}",
        )
    if found[0].previous == current.id:  # moved to, it would count as a promotion, and what it took away not be pinned
        raise UnknownRef(
            f"Going from the current release to revision {to} is no way back.",
            why="It was promoted to replace what stands there now.",
            next_step=f"Promote it: trainwright release promote {current.name} {current.stage} {found[0].checkpoint[:12]}",
        )
    return found[0]


def _move(release: Release, current: Release | None, workspace: Workspace, *, who: str, why: str) -> Moved:
    ref = name_ref(release.name, release.stage)
    return Moved(release, workspace.ledger.move_ref(ref, release.id, _id_of(current), who, why))


def _not_decided(name: str, stage: Stage, why: str) -> NotDecided:
    return NotDecided(
        f"Nothing may be promoted to {name_ref(name, stage)}.",
        why=why,
        next_step=f"Ask the gates: trainwright release gate {name} {stage} REF",
    )


def _id_of(release: Release | None) -> str | None:
    return None if release is None else release.id


def _say(release_id: str | None) -> str:
    return "nothing" if release_id is None else f"release {release_id[:12]}"


def find_decision(text: str, workspace: Workspace) -> Decision:
    """The decision that an id, or the beginning of one, names. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(text))
    if isinstance(record, Release) and record.decision is not None:
        record = workspace.ledger.get(record.decision)
    if not isinstance(record, Decision):
        raise UnknownRef(
            f"{text} does not name a decision.",
            why=f"It names a {record.kind}.",
            next_step="Name a decision's id, as `trainwright release gate` prints it, or a release that one allowed.",
        )
    return record
