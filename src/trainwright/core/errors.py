"""Every way Trainwright says no, as one tree.

    TrainwrightError
    ├── UsageError ................... 64  what was asked cannot be meant
    │   ├── UnknownKey, InvalidValue, OutOfRange, ManifestNotFound, ManifestUnreadable
    │   ├── SuiteNotFound, SuiteUnreadable
    │   ├── UnknownRef, AmbiguousRef, NothingToResume, OutputExists
    │   ├── SignerUnknown
    │   ├── JobEnded, JobNotResumable, IdempotencyMismatch, RequestUnderWay, MalformedRequest
    │   ├── UnknownRoute, BodyTooLarge, NotAuthenticated, NotPermitted, TooManyRequests
    │   └── RefMoved, ImmutableRecord
    ├── PrerequisiteError ............. 1  the machine lacks something
    │   ├── PackageMissing, PythonTooOld, DiskFull, NotWritable
    │   ├── DeviceUnavailable, MemoryShort, ContainerEngineMissing, ImageMissing
    │   ├── SigningKeyMissing, SigningKeyUnreadable, SigningKeyExposed
    │   └── TrainwrightTooOld, LedgerUnavailable, TrackerFailed, ChannelFailed
    ├── DataError ..................... 2  the corpus
    │   ├── SourceNotFound, SourceUnreadable, SourceEmpty, SourceTooShort, NotText, InvalidEncoding, InvalidRow
    │   ├── InvalidTrace (an InvalidRow) ── TraceTooLarge; NotTrainable, NothingSelected, TraceForgotten
    │   ├── TemplateUnreadable, TemplateFailed, TemplateUnsafe, TemplateUnmaskable, SampleWithoutTarget
    │   ├── DownloadFailed, NotTextResponse, ChecksumMismatch, LabelsTooFew
    │   └── DatasetMissing, ObjectMissing, ObjectDamaged, RecordDamaged
    ├── TokenizerError ................ 3  the tokenizer
    │   ├── VocabularyTooLarge, VocabularyTooSmall
    │   └── TokenizerMissing, TokenizerMismatch, TokenizerUnreadable
    ├── TrainingError ................. 4  the training run
    │   ├── NonFiniteLoss, TrainingUnstable, RunBusy, RunDamaged, PlanMismatch, UnsupportedPlan, Drift
    │   ├── ModelUnreadable, WeightsMissing, PickledWeights
    │   └── CheckpointDamaged, NoGoodCheckpoint, EventsDamaged, JobCrashed, JobOutOfMemory
    ├── EvaluationError ............... 5  validation or evaluation
    │   ├── BudgetExceeded, ValidationFailed, VerificationFailed, CannotVerify
    │   ├── ReleaseUnsigned, SignatureWrong, AttestationFailed, EvidenceUnreadable
    │   ├── ItemsDiffer, PromptsDiffer, MetricsDiffer, PredictionsIncomplete, JudgeSilent
    │   └── EndpointRefused, EndpointUnreachable, AuditDamaged
    ├── ReleaseError .................. 6  what may stand where
    │   └── GateRefused, NotDecided, ReleasePinned, StageSkipped, ReleaseDamaged
    ├── BudgetReached ................. 7  a limit on what may be spent is reached; resumable
    ├── InternalError ................ 70  a fault of ours
    └── Interrupted ................. 130  stopped by the user; resumable

An error carries what happened (`message`), `why`, and what to do `next`. The CLI, REST and the dashboard all render the
same four fields, so a class here is the whole definition of a failure.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class TrainwrightError(Exception):
    """Root of the tree. `name` is stable and kebab-case; people and programs may match on it."""

    name: ClassVar[str] = "trainwright-error"
    exit_code: ClassVar[int] = 70
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.next_step = next_step

    def as_document(self) -> dict[str, object]:
        """The one error shape: {name, message, why, next, exit_code}."""
        return {
            "name": self.name,
            "message": self.message,
            "why": self.why,
            "next": self.next_step,
            "exit_code": self.exit_code,
        }


# ── 64: usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class UsageError(TrainwrightError):
    """What was asked cannot be meant as written."""

    name, exit_code, http_status = "usage", 64, 422


class UnknownKey(UsageError):
    """A manifest key that does not exist; the nearest one is named."""

    name = "unknown-key"


class InvalidValue(UsageError):
    """A value of the wrong type, or not among the choices."""

    name = "invalid-value"


class OutOfRange(UsageError):
    """A number outside its stated range; the range is named."""

    name = "out-of-range"


class ManifestNotFound(UsageError):
    """The manifest file is not there."""

    name, http_status = "manifest-not-found", 404


class ManifestUnreadable(UsageError):
    """The manifest is not YAML, or not a mapping."""

    name = "manifest-unreadable"


class SuiteNotFound(UsageError):
    """No suite comes along under that name, and there is no such file."""

    name, http_status = "suite-not-found", 404


class SuiteUnreadable(UsageError):
    """The file of a suite is not YAML, or not a mapping."""

    name = "suite-unreadable"


class UnknownRef(UsageError):
    """No record, run or ref goes by that name."""

    name, http_status = "unknown-ref", 404


class AmbiguousRef(UsageError):
    """A short id that several records begin with."""

    name, http_status = "ambiguous-ref", 409


class NothingToResume(UsageError):
    """There is no unfinished run to continue."""

    name, http_status = "nothing-to-resume", 409


class OutputExists(UsageError):
    """The output folder is there already and is not empty."""

    name, http_status = "output-exists", 409


class RefMoved(UsageError):
    """A ref no longer points where the caller believed (compare-and-swap lost)."""

    name, http_status = "ref-moved", 409


class ImmutableRecord(UsageError):
    """A name@version that exists with other content."""

    name, http_status = "immutable-record", 409


class SignerUnknown(UsageError):
    """No key of that id or name is trusted in this workspace."""

    name, http_status = "signer-unknown", 404


class JobEnded(UsageError):
    """A job is over: there is nothing to stop."""

    name, http_status = "job-ended", 409


class JobNotResumable(UsageError):
    """A job is in line, runs, or is complete: there is nothing to go on with."""

    name, http_status = "job-not-resumable", 409


class IdempotencyMismatch(UsageError):
    """An idempotency key was used before, for another request."""

    name, http_status = "idempotency-mismatch", 409


class RequestUnderWay(UsageError):
    """The same request, by its idempotency key, came before and is not answered yet."""

    name, http_status = "request-under-way", 409


class MalformedRequest(UsageError):
    """The body of a request is not the JSON that it says it is."""

    name, http_status = "malformed-request", 400


class UnknownRoute(UsageError):
    """The service has nothing at that address, or not for that method."""

    name, http_status = "unknown-route", 404


class BodyTooLarge(UsageError):
    """The body of a request is larger than the service takes; the limit is named."""

    name, http_status = "body-too-large", 413


class NotAuthenticated(UsageError):
    """A request came without a token, or with one that is not known or has expired."""

    name, http_status = "not-authenticated", 401


class NotPermitted(UsageError):
    """What was asked is for others to ask: the role, or the place, is named."""

    name, http_status = "not-permitted", 403


class TooManyRequests(UsageError):
    """One caller asks faster than the service allows; when to come back is said."""

    name, http_status = "too-many-requests", 429


# ── 1: prerequisites ──────────────────────────────────────────────────────────────────────────────────────────────────
class PrerequisiteError(TrainwrightError):
    """The machine lacks something the plan needs."""

    name, exit_code, http_status = "prerequisite", 1, 503


class PackageMissing(PrerequisiteError):
    """A Python package is not installed; `next` is the pip command."""

    name = "package-missing"


class PythonTooOld(PrerequisiteError):
    """The running Python is older than the project supports."""

    name = "python-too-old"


class DiskFull(PrerequisiteError):
    """The disk (or quota, or file-size limit) has no room for what must be written."""

    name, http_status = "disk-full", 507


class NotWritable(PrerequisiteError):
    """A folder that must be written to may not be."""

    name = "not-writable"


class DeviceUnavailable(PrerequisiteError):
    """A framework imports but cannot run a kernel on the device asked for."""

    name = "device-unavailable"


class MemoryShort(PrerequisiteError):
    """The plan's estimate is more than the memory this machine has."""

    name = "memory-short"


class ContainerEngineMissing(PrerequisiteError):
    """No container engine answers on this host; what each one said is named."""

    name = "container-engine-missing"


class ImageMissing(PrerequisiteError):
    """The container engine has no image of that name; none is ever fetched."""

    name = "image-missing"


class TrainwrightTooOld(PrerequisiteError):
    """What is on disk was written by a newer Trainwright than the one that is running."""

    name = "trainwright-too-old"


class LedgerUnavailable(PrerequisiteError):
    """The ledger's database is damaged, locked for too long, or not there."""

    name = "ledger-unavailable"


class SigningKeyMissing(PrerequisiteError):
    """There is no key to sign with, or a part of it is missing."""

    name, http_status = "signing-key-missing", 404


class SigningKeyUnreadable(PrerequisiteError):
    """A key file is no key, is of another kind, or may not be read."""

    name = "signing-key-unreadable"


class SigningKeyExposed(PrerequisiteError):
    """A private key can be read by others than its owner, so it proves nothing."""

    name = "signing-key-exposed"


class TrackerFailed(PrerequisiteError):
    """A tracker did not take what it was given; a run itself never fails for that."""

    name, http_status = "tracker-failed", 502


class ChannelFailed(PrerequisiteError):
    """A channel for alerts did not take one; it stays in the outbox and is tried again."""

    name, http_status = "channel-failed", 502


# ── 2: data ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class DataError(TrainwrightError):
    """Something about the corpus."""

    name, exit_code, http_status = "data", 2, 422


class SourceNotFound(DataError):
    """The corpus names nothing that exists."""

    name = "source-not-found"


class SourceUnreadable(DataError):
    """A source file may not be opened, or its compressed data is cut or damaged."""

    name = "source-unreadable"


class SourceEmpty(DataError):
    """There is no text in the corpus."""

    name = "source-empty"


class SourceTooShort(DataError):
    """The corpus, or one of its splits, is shorter than one training window."""

    name = "source-too-short"


class NotText(DataError):
    """The file is binary."""

    name = "not-text"


class InvalidEncoding(DataError):
    """The file is not UTF-8; file and byte offset are named."""

    name = "invalid-encoding"


class InvalidRow(DataError):
    """A JSONL or Parquet row is malformed or has no text; file and line are named."""

    name = "invalid-row"


class InvalidTrace(InvalidRow):
    """A record is no trace and no conversation; the field and its limit are named."""

    name = "invalid-trace"


class TraceTooLarge(InvalidTrace):
    """One trace is more than 1 MiB of JSON."""

    name, http_status = "trace-too-large", 413


class NotTrainable(DataError):
    """A conversation has no assistant's turn at its end, so nothing of it can be learnt; its id is named."""

    name = "not-trainable"


class NothingSelected(DataError):
    """A selection matches no trace."""

    name = "nothing-selected"


class TraceForgotten(DataError):
    """A trace was forgotten on request: its content is gone, and so is every dataset version that held it."""

    name, http_status = "trace-forgotten", 410


class TemplateUnreadable(DataError):
    """A chat template is no Jinja template, or the tokenizer carries none."""

    name = "template-unreadable"


class TemplateFailed(DataError):
    """A chat template has no form for a conversation, or says so itself; template and conversation are named."""

    name = "template-failed"


class TemplateUnsafe(DataError):
    """A chat template tried to leave its sandbox, or took more time, memory or text than a template may."""

    name = "template-unsafe"


class TemplateUnmaskable(DataError):
    """It cannot be told which part of what a chat template renders is the assistant's."""

    name = "template-unmaskable"


class SampleWithoutTarget(DataError):
    """A sample has no token that could be learnt; its id is named."""

    name = "sample-without-target"


class DownloadFailed(DataError):
    """A download did not complete after its retries."""

    name, http_status = "download-failed", 502


class NotTextResponse(DataError):
    """The server sent a web page where text was expected."""

    name, http_status = "not-text-response", 502


class ChecksumMismatch(DataError):
    """The bytes are not the ones that were named."""

    name = "checksum-mismatch"


class LabelsTooFew(DataError):
    """A labelled file has one label alone, or too few groups of one, to train a scorer and to measure it."""

    name = "labels-too-few"


class DatasetMissing(DataError):
    """A dataset that was to be reused is not in this workspace."""

    name, http_status = "dataset-missing", 404


class ObjectMissing(DataError):
    """No stored bytes have that digest."""

    name, http_status = "object-missing", 404


class ObjectDamaged(DataError):
    """Stored bytes no longer have the digest they are named by; they were set aside."""

    name, http_status = "object-damaged", 500


class RecordDamaged(DataError):
    """A stored record or trace is no longer what its id says: it was changed after it was written."""

    name, http_status = "record-damaged", 500


# ── 3: tokenizer ──────────────────────────────────────────────────────────────────────────────────────────────────────
class TokenizerError(TrainwrightError):
    """Something about the tokenizer."""

    name, exit_code, http_status = "tokenizer", 3, 422


class VocabularyTooLarge(TokenizerError):
    """The text does not hold enough different pieces for the vocabulary asked for."""

    name = "vocabulary-too-large"


class VocabularyTooSmall(TokenizerError):
    """The vocabulary asked for does not hold the bytes, the special tokens and the text's characters."""

    name = "vocabulary-too-small"


class TokenizerMissing(TokenizerError):
    """A tokenizer that was to be reused is not in this workspace."""

    name, http_status = "tokenizer-missing", 404


class TokenizerMismatch(TokenizerError):
    """Tokens or weights were made with another tokenizer."""

    name, http_status = "tokenizer-mismatch", 409


class TokenizerUnreadable(TokenizerError):
    """A tokenizer file or folder cannot be read."""

    name = "tokenizer-unreadable"


# ── 4: training ───────────────────────────────────────────────────────────────────────────────────────────────────────
class TrainingError(TrainwrightError):
    """Something about the training run."""

    name, exit_code, http_status = "training", 4, 500


class NonFiniteLoss(TrainingError):
    """The loss or a gradient is NaN or infinite; the parameters were left as they were."""

    name = "non-finite-loss"


class TrainingUnstable(TrainingError):
    """Training went wrong again after its last rollback; the checkpoints are good."""

    name = "training-unstable"


class RunBusy(TrainingError):
    """Another process is writing this run."""

    name, http_status = "run-busy", 409


class RunDamaged(TrainingError):
    """A file of the run folder is missing, or is no longer what its id says; the file is named."""

    name = "run-damaged"


class PlanMismatch(TrainingError):
    """The run on disk was made from another plan."""

    name, http_status = "plan-mismatch", 409


class UnsupportedPlan(TrainingError):
    """The backend cannot do what the plan asks; those that can are named."""

    name, http_status = "unsupported-plan", 422


class ModelUnreadable(TrainingError):
    """A model folder in the Hugging Face format that cannot be used: what is wrong with it is said."""

    name, http_status = "model-unreadable", 422


class WeightsMissing(TrainingError):
    """A model folder without its weights, or without one of them."""

    name, http_status = "weights-missing", 422


class PickledWeights(TrainingError):
    """A model folder whose weights are pickled, which nobody allowed."""

    name, http_status = "pickled-weights", 422


class Drift(TrainingError):
    """Something that can change the run's results is not as it was; each is named, and can be allowed by name."""

    name, http_status = "drift", 409


class CheckpointDamaged(TrainingError):
    """A checkpoint's bytes are not the ones its manifest names; it was set aside."""

    name = "checkpoint-damaged"


class NoGoodCheckpoint(TrainingError):
    """No checkpoint of the run can be read."""

    name = "no-good-checkpoint"


class EventsDamaged(TrainingError):
    """A line of the event stream is not readable."""

    name = "events-damaged"


class JobCrashed(TrainingError):
    """The process of a job ended without a word, as often as it was tried; its log is named."""

    name = "job-crashed"


class JobOutOfMemory(TrainingError):
    """The process of a job was killed because its container may have no more memory; the limit is named."""

    name = "job-out-of-memory"


# ── 5: validation and evaluation ──────────────────────────────────────────────────────────────────────────────────────
class EvaluationError(TrainwrightError):
    """Something about validation or evaluation."""

    name, exit_code, http_status = "evaluation", 5, 422


class BudgetExceeded(EvaluationError):
    """The model is there, but a budget of its preset is not met; the rows are named."""

    name = "budget-exceeded"


class ValidationFailed(EvaluationError):
    """The trained model does not pass its own checks."""

    name = "validation-failed"


class VerificationFailed(EvaluationError):
    """Computed again, a run came out differently, or what is stored of it was changed; step and tensor are named."""

    name, http_status = "verification-failed", 409


class CannotVerify(EvaluationError):
    """Whether a run would come out the same again cannot be found out here; the reasons are named."""

    name, http_status = "cannot-verify", 409


class ItemsDiffer(EvaluationError):
    """Two evaluations are not of the same items; those that differ are named."""

    name, http_status = "items-differ", 409


class PromptsDiffer(EvaluationError):
    """Two evaluations asked the same items in other words; those that differ are named."""

    name, http_status = "prompts-differ", 409


class MetricsDiffer(EvaluationError):
    """Two evaluations have no metric in common, or mean other things by one."""

    name, http_status = "metrics-differ", 409


class PredictionsIncomplete(EvaluationError):
    """Recorded outputs are missing for items of the evalset, or are for items that it does not have."""

    name = "predictions-incomplete"


class EndpointRefused(EvaluationError):
    """A model's endpoint does not take what it is asked: the key, the model's name or the address is wrong."""

    name, http_status = "endpoint-refused", 502


class EndpointUnreachable(EvaluationError):
    """A model's endpoint did not answer several items in a row, each after its retries; what it answered is kept."""

    name, http_status = "endpoint-unreachable", 502


class ReleaseUnsigned(EvaluationError):
    """A release has no attestation: nobody signed it."""

    name, http_status = "release-unsigned", 404


class SignatureWrong(EvaluationError):
    """A signature is not that of the key over these bytes, or cannot be read as one."""

    name, http_status = "signature-wrong", 409


class AttestationFailed(EvaluationError):
    """A release, or its evidence, is not what was signed; every check that failed is named."""

    name, http_status = "attestation-failed", 409


class EvidenceUnreadable(EvaluationError):
    """A folder or zip file is no evidence of a release."""

    name = "evidence-unreadable"


class AuditDamaged(EvaluationError):
    """A line of the audit log does not follow from the one before it, or was changed; the line is named."""

    name, http_status = "audit-damaged", 500


# ── 6: release ────────────────────────────────────────────────────────────────────────────────────────────────────────
class ReleaseError(TrainwrightError):
    """A model may not stand where it was asked to stand."""

    name, exit_code, http_status = "release", 6, 409


class GateRefused(ReleaseError):
    """A gate failed, or the evidence does not decide it; each is named, with what would settle it."""

    name = "gate-refused"


class NotDecided(ReleaseError):
    """There is no passing decision for exactly this checkpoint, stage and state of the ref."""

    name = "not-decided"


class ReleasePinned(ReleaseError):
    """These weights were rolled back at this stage, and come back only by an override."""

    name = "release-pinned"


class StageSkipped(ReleaseError):
    """A model goes through staging before production."""

    name = "stage-skipped"


class ReleaseDamaged(ReleaseError):
    """Bytes behind a release are missing, or are not what its records say; they are named, and no ref is moved."""

    name = "release-damaged"


class JudgeSilent(EvaluationError):
    """A judge did not answer, or its record has no answer; what it said before is kept."""

    name, http_status = "judge-silent", 502


# ── 70, 130 ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class InternalError(TrainwrightError):
    """A fault of ours."""

    name, exit_code, http_status = "internal-error", 70, 500


class BudgetReached(TrainwrightError):
    """A limit on money, hours, energy or tokens is reached; the run was checkpointed, and goes on once the limit is raised."""

    name, exit_code, http_status = "budget-reached", 7, 409


class Interrupted(TrainwrightError):
    """Stopped by the user (Ctrl-C or SIGTERM); the run was checkpointed and can be resumed."""

    name, exit_code, http_status = "interrupted", 130, 409


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def translate_write_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `target` into `DiskFull` and `NotWritable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(
                f"No room to write {target}.",
                why=f"The operating system said: {error.strerror}.",
                next_step="Free some space, or choose another folder with --workspace or --output-dir; then run it again.",
            ) from error
        if error.errno in _NOT_ALLOWED:
            raise NotWritable(
                f"{target} cannot be written.",
                why=f"The operating system said: {error.strerror}.",
                next_step="Choose a folder you may write to with --workspace or --output-dir.",
            ) from error
        raise


@contextmanager
def translate_read_errors(source: Path) -> Iterator[None]:
    """Turn the operating system's refusals to read `source` into `SourceNotFound` and `SourceUnreadable`."""
    try:
        yield
    except FileNotFoundError:
        raise SourceNotFound(f"There is no file {source}.", next_step="Check the path.") from None
    except OSError as error:
        raise SourceUnreadable(
            f"{source} cannot be read.",
            why=f"The operating system said: {error.strerror}.",
            next_step="Check the path.",
        ) from error


def iter_error_classes() -> Iterator[type[TrainwrightError]]:
    """Every class of the tree, parents before children (for the generated error page and its test)."""
    pending: list[type[TrainwrightError]] = [TrainwrightError]
    while pending:
        error_class = pending.pop(0)
        yield error_class
        pending = list(error_class.__subclasses__()) + pending
