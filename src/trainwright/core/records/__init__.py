"""The records: frozen, named by the SHA-256 of their canonical JSON, each holding the ids of what it came from.

    DatasetVersion ← Tokenizer ← TokenSet ← Plan ← Run ← Checkpoint ← Report, Evaluation
    DatasetVersion ← DatasetVersion, Forgotten     Run ← Outcome, Drift, Verdict
                                                         Checkpoint ← Plan   (a run that goes on from another's)
    Policy, Checkpoint, Evaluation ← Decision ← Release ← Release (what it replaced)
                                                Release ← Attestation
    DatasetVersion ← Sweep ← Trial ← TrialOutcome   Plan ← Trial   Run, Report ← TrialOutcome

A type is defined here once. It is the stored form, the CLI's JSON and the REST body. Nothing in a record names a place on
one machine: bytes are named by digest, and the store knows where they lie.
"""

from typing import Any

from trainwright.core.errors import RecordDamaged, TrainwrightTooOld
from trainwright.core.records.base import Frozen, Record, added
from trainwright.core.records.data import DatasetVersion, Forgotten, SourceFile, SplitContent
from trainwright.core.records.evaluations import (
    Estimate,
    Evaluation,
    EvaluationSettings,
    ItemSample,
    ItemScore,
    ItemStatus,
    JudgeCalibration,
    PairedTest,
    TrainedScorer,
)
from trainwright.core.records.models import Adapter, ImportedModel, ImportedShape, ModelShape, Shape
from trainwright.core.records.plan import (
    Budgets,
    Compute,
    EarlyStopping,
    Optimizer,
    Plan,
    Schedule,
    Stability,
    Start,
    TrainingPlan,
)
from trainwright.core.records.releases import (
    STAGES,
    Attestation,
    Condition,
    Decision,
    Gate,
    GateKind,
    GateOutcome,
    GateResult,
    Override,
    Policy,
    Release,
    Stage,
)
from trainwright.core.records.runs import (
    Change,
    Check,
    Checkpoint,
    Difference,
    Drift,
    Interval,
    Measure,
    Outcome,
    Report,
    Run,
    Sample,
    Verdict,
)
from trainwright.core.records.sweeps import Dimension, Number, Objective, Pruning, Sweep, Trial, TrialOutcome
from trainwright.core.records.tokens import Rendering, Shard, SpecialTokens, Tokenizer, TokenSet, TokenSplit, TooLong

__all__ = [
    "RECORD_TYPES",
    "STAGES",
    "Adapter",
    "Attestation",
    "Budgets",
    "Change",
    "Check",
    "Checkpoint",
    "Compute",
    "Condition",
    "DatasetVersion",
    "Decision",
    "Difference",
    "Dimension",
    "Drift",
    "EarlyStopping",
    "Estimate",
    "Evaluation",
    "EvaluationSettings",
    "Forgotten",
    "Frozen",
    "Gate",
    "GateKind",
    "GateOutcome",
    "GateResult",
    "ImportedModel",
    "ImportedShape",
    "Interval",
    "ItemSample",
    "ItemScore",
    "ItemStatus",
    "JudgeCalibration",
    "Measure",
    "ModelShape",
    "Number",
    "Objective",
    "Optimizer",
    "Outcome",
    "Override",
    "PairedTest",
    "Plan",
    "Policy",
    "Pruning",
    "Record",
    "Release",
    "Rendering",
    "Report",
    "Run",
    "Sample",
    "Schedule",
    "Shape",
    "Shard",
    "SourceFile",
    "SpecialTokens",
    "SplitContent",
    "Stability",
    "Stage",
    "Start",
    "Sweep",
    "TokenSet",
    "TokenSplit",
    "Tokenizer",
    "TooLong",
    "TrainedScorer",
    "TrainingPlan",
    "Trial",
    "TrialOutcome",
    "Verdict",
    "added",
    "parse_record",
]

RECORD_TYPES: dict[str, type[Record]] = {
    record_type.model_fields["kind"].default: record_type
    for record_type in (
        *(DatasetVersion, Tokenizer, TokenSet, Plan, Run, Checkpoint, Report, Outcome, Drift, Verdict),
        *(Forgotten, Evaluation, ImportedModel, Policy, Decision, Release, TrainedScorer, JudgeCalibration),
        *(Attestation, Sweep, Trial, TrialOutcome),
    )
}


def parse_record(document: dict[str, Any], expected_id: str | None = None) -> Record:
    """A record from its JSON document. Raises TrainwrightTooOld for an unknown kind, RecordDamaged for another id."""
    record_type = RECORD_TYPES.get(str(document.get("kind")))
    if record_type is None:
        raise TrainwrightTooOld(
            f"A stored record has the unknown kind {document.get('kind')!r}.",
            why="It was probably written by a newer Trainwright.",
            next_step="Upgrade Trainwright and try again.",
        )
    record = record_type.model_validate(document)
    if expected_id is not None and record.id != expected_id:
        raise RecordDamaged(
            f"The stored {record.kind} {expected_id[:12]} is not what its id says.",
            why=f"Its content has the digest {record.id[:12]}: it was changed after it was written.",
            next_step="Make the ledger again from ledger.jsonl: trainwright store reindex",
        )
    return record
