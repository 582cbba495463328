"""What a model has to show, what was decided, and what stands where."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record, added
from trainwright.core.records.evaluations import Estimate

Stage = Literal["staging", "production"]
STAGES: tuple[Stage, ...] = ("staging", "production")
"""In the order in which a model goes through them."""
GateKind = Literal["at_least", "at_most", "non_inferior", "superior"]
GateOutcome = Literal["pass", "fail", "inconclusive"]


class Gate(Frozen):
    """One condition of a policy: a metric of a suite's item table, and what its interval has to clear.

    `at_least`, `at_most`: the interval of the candidate against `limit`. `non_inferior`, `superior`: the interval of the
    paired difference from the baseline against −`margin`, or 0; `relative`: the margin is a share of the baseline's figure.
    `by` asks for the same in every value of a slice. `cluster` False: items count as independent whatever they share.
    `max_missing` is the share of items that may be without a value, on either side. `digest` is that of the very suite (or of
    the items, where no suite asked) that has to have been asked.
    """

    kind: GateKind
    metric: str
    suite: str
    limit: float | None = None
    margin: float | None = None
    relative: bool = False
    min_n: int = 1
    by: str | None = None
    cluster: bool = True
    max_missing: float = added(0.0)
    digest: Digest | None = added(None)


class Policy(Record):
    """What a model has to show before it may stand at a stage. All gates must pass; nothing is weighed.

    `baseline`: what the paired gates compare with: the release that stands at the stage now (`current`), nothing, or what
    a ref names. `max_overlap`: the share of items that may be found in the training text (None: not looked at).
    """

    kind: Literal["policy"] = "policy"
    name: str
    stage: Stage
    baseline: str
    alpha: float
    gates: tuple[Gate, ...]
    max_overlap: float | None
    canaries: tuple[str, ...] = ()
    require_verdict: bool = False
    require_signature: bool = False


class GateResult(Frozen):
    """What came of one gate, for all items or one value of a slice (`part`, "category=sums").

    `items_to_settle`: about how many items would settle an inconclusive one, where that can be said.
    """

    gate: Gate
    part: str
    outcome: GateOutcome
    candidate: Estimate | None
    baseline: Estimate | None
    difference: Estimate | None
    items_to_settle: int | None
    why: str


class Condition(Frozen):
    """A condition that is no figure: contamination, a verdict, a signature."""

    name: str
    outcome: GateOutcome
    why: str


class Decision(Record):
    """Whether a checkpoint may stand at a stage of a name, and every figure that says so.

    `replaces` is the release that stood there when it was made: only what replaces that one may use it. `evaluations` are
    those that were judged, `all_evaluations` all that were ever made of the candidate: trying until it passes is seen.
    """

    kind: Literal["decision"] = "decision"
    parent_fields: ClassVar[tuple[str, ...]] = ("policy", "checkpoint", "replaces", "baseline", "verdict")
    name: str
    stage: Stage
    policy: Digest
    checkpoint: Digest
    replaces: Digest | None
    baseline: Digest | None
    verdict: Digest | None
    evaluations: tuple[Digest, ...]
    all_evaluations: tuple[Digest, ...]
    outcome: GateOutcome
    gates: tuple[GateResult, ...]
    conditions: tuple[Condition, ...]
    at: str
    who: str

    def parents(self) -> dict[str, str]:
        """The policy, the checkpoints and the evaluations that were judged, numbered in their order."""
        numbered = {f"evaluation {number}": one for number, one in enumerate(self.evaluations, start=1)}
        return super().parents() | numbered


class Override(Frozen):
    """That a person let a model pass that its policy did not. It is never a pass."""

    who: str
    why: str


class Release(Record):
    """A checkpoint at a stage of a name. The ref `name@stage` points to one; `previous` is where it pointed before.

    `weights` is the digest of the weights, `decision` the passing decision that allowed it; without one it was overridden.
    """

    kind: Literal["release"] = "release"
    parent_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "decision", "previous")
    name: str
    stage: Stage
    checkpoint: Digest
    weights: Digest
    decision: Digest | None
    previous: Digest | None
    override: Override | None = None

    @model_validator(mode="after")
    def _was_decided_or_overridden(self) -> Self:
        if self.decision is None and self.override is None:
            raise ValueError("a release has a decision, or says who let it pass without one")
        return self


class Attestation(Record):
    """What proves a release: the objects that say what it was made of and that its bytes are those, and who signed them.

    `signer` is the object with the signer's public keys, and its digest the signer's id. `envelope` (DSSE) holds the in-toto
    statement, `model_signature` is that of the checkpoint's folder (OpenSSF), `bill_of_materials` is CycloneDX.
    """

    kind: Literal["attestation"] = "attestation"
    parent_fields: ClassVar[tuple[str, ...]] = ("release",)
    release: Digest
    signer: Digest
    envelope: Digest
    model_signature: Digest
    bill_of_materials: Digest
    at: str
