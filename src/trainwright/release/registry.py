"""The registry: which release stands at which stage of a name, and what stood there before.

A ref `name@stage` points to a Release. Its history, which the ledger keeps, is all there is: a move to a release that did not
come after the one before it is a rollback, and what it moved away from is pinned. So nothing moves without being on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainwright.core.errors import InvalidValue, UnknownRef
from trainwright.core.records import STAGES, Release, Stage
from trainwright.store.ledger import Ledger, RefMove, require_ref_name

Action = Literal["promote", "override", "rollback"]


@dataclass(frozen=True)
class Revision:
    """One move of a stage's ref, numbered from 1."""

    number: int
    action: Action
    release: Release
    move: RefMove

    def as_document(self) -> dict[str, Any]:
        """What `release history --json` and the service say of it."""
        return {
            "revision": self.number,
            "action": self.action,
            "release": self.release.id,
            "checkpoint": self.release.checkpoint,
            "decision": self.release.decision,
            **describe_move(self.move),
        }


def describe_move(move: RefMove) -> dict[str, Any]:
    """Who moved a ref, when, why, from where to where."""
    return {"from": move.from_id, "to": move.to_id, "at": move.at, "who": move.who, "why": move.why}


def name_ref(name: str, stage: Stage) -> str:
    """The ref of a stage. Raises InvalidValue for a name that a ref cannot have."""
    if not name or "@" in name:
        raise InvalidValue(
            f"{name!r} cannot be the name of a model.",
            why="The @ stands between name and stage.",
            next_step="Write the two apart, for example: trainwright release history stories production",
        )
    ref = f"{name}@{stage}"
    require_ref_name(ref)
    return ref


def parse_stage(text: str) -> Stage:
    """A stage by name. Raises InvalidValue."""
    for stage in STAGES:
        if text == stage:
            return stage
    raise InvalidValue(
        f"There is no stage {text!r}.",
        why=f"A model goes through {' and '.join(STAGES)}.",
        next_step="Name one of these.",
    )


def read_current(name: str, stage: Stage, ledger: Ledger) -> Release | None:
    """The release that stands there now. Raises InvalidValue where the ref points to something else."""
    ref = name_ref(name, stage)
    record_id = ledger.read_ref(ref)
    if record_id is None:
        return None
    return _as_release(ledger, record_id, ref)


def require_current(name: str, stage: Stage, ledger: Ledger) -> Release:
    """The same. Raises UnknownRef where nothing stands there."""
    current = read_current(name, stage, ledger)
    if current is None:
        raise UnknownRef(
            f"Nothing stands at {name_ref(name, stage)}.",
            why="No model was promoted there yet.",
            next_step=f"trainwright release gate {name} {stage} REF, then trainwright release promote {name} {stage}",
        )
    return current


def list_revisions(name: str, stage: Stage, ledger: Ledger) -> list[Revision]:
    """Every move of the stage's ref, the oldest first."""
    ref = name_ref(name, stage)
    return [_read_revision(number, move, ref, ledger) for number, move in enumerate(ledger.ref_history(ref), start=1)]


def find_pinned(revisions: Sequence[Revision]) -> dict[str, Revision]:
    """{digest of weights: the rollback that took them away}, unless an override brought them back since."""
    pinned: dict[str, Revision] = {}
    previous: Release | None = None
    for revision in revisions:
        if revision.action == "rollback" and previous is not None:
            pinned[previous.weights] = revision
        pinned.pop(revision.release.weights, None)
        previous = revision.release
    return pinned


def _read_revision(number: int, move: RefMove, ref: str, ledger: Ledger) -> Revision:
    """A release that was promoted replaced what it says; one that is moved to from elsewhere was moved back to."""
    release = _as_release(ledger, move.to_id, ref)
    if release.previous != move.from_id:
        return Revision(number, "rollback", release, move)
    return Revision(number, "override" if release.override else "promote", release, move)


def _as_release(ledger: Ledger, record_id: str, ref: str) -> Release:
    record = ledger.get(record_id)
    if not isinstance(record, Release):
        raise InvalidValue(
            f"{ref} does not name a release.",
            why=f"It names a {record.kind}: a ref of that name was set by something else.",
            next_step="Choose another name.",
        )
    return record
