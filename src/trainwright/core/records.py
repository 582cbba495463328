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

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from trainwright.core.errors import RecordDamaged, TrainwrightTooOld
from trainwright.core.hashing import Digest, digest_json


def added(default: Any) -> Any:
    """A field that records written before it existed do not have, and whose absence means `default`.

    It is left out of the canonical JSON where it holds its default, so that the ids of older records stay what they are.
    """
    return Field(default, json_schema_extra={"added": True})


class Frozen(BaseModel):
    """A value inside a record: immutable, strict about keys, and free of NaN."""

    # "constants": a NaN inside an `Any` would otherwise be written as null, and share its id with a real null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """A copy with other values, validated: pydantic's own would take any value, and carry a remembered `id` over."""
        return type(self).model_validate(self.model_dump() | dict(update or {}))

    @model_serializer(mode="wrap")
    def _leave_out_what_was_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == {"added": True} and getattr(self, name) == field.default:
                document.pop(name, None)
        return document


class Record(Frozen):
    """Something that happened, and never changes. Its id is the digest of its content."""

    kind: str
    parent_fields: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def id(self) -> str:
        """SHA-256 of the record's canonical JSON. Raises ValueError where a free-form field holds NaN or infinity."""
        return digest_json(self.model_dump(mode="json"))

    def parents(self) -> dict[str, str]:
        """{role: record id} of what this came from; roles that are empty are left out."""
        return {role: value for role in self.parent_fields if (value := getattr(self, role)) is not None}


# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
class SourceFile(Frozen):
    """One file that went into a dataset: the name the person knows it by, its digest and its size as read."""

    name: str
    digest: Digest
    num_bytes: int


class SplitContent(Frozen):
    """The documents of one split. `documents` is the digest of a JSONL object, one {"text": …} a line, in order.

    In a dataset of traces a line is the canonical JSON of one trace or conversation. `num_bytes` counts the UTF-8 bytes of
    the texts alone (of a trace: prompt, steps, answer), without keys: the denominator of bits per byte.
    """

    documents: Digest
    num_documents: int
    num_characters: int
    num_bytes: int


class DatasetVersion(Record):
    """Text, read, cleaned, split. The same text and recipe give the same version, whenever and wherever it is built.

    A version of traces has a `name` and a `version`, and `records`: the digest of an object with one trace id a line, in
    manifest order (the splits in alphabetical order, each in the order of its documents). `derived_from` are the versions
    that its traces were taken from, where they came from versions and not from the trace store.
    """

    kind: Literal["dataset"] = "dataset"
    source: str
    files: tuple[SourceFile, ...]
    recipe: dict[str, Any]
    splits: dict[str, SplitContent]
    num_dropped_duplicates: int = 0
    name: str | None = added(None)
    version: str | None = added(None)
    derived_from: tuple[Digest, ...] = added(())
    records: Digest | None = added(None)
    statistics: dict[str, Any] | None = added(None)

    @property
    def holds_traces(self) -> bool:
        """Whether its documents are traces and conversations; otherwise they are plain text."""
        return self.records is not None

    def parents(self) -> dict[str, str]:
        """The versions it was taken from, numbered in their order."""
        return {f"dataset {number}": parent for number, parent in enumerate(self.derived_from, start=1)}


class Forgotten(Record):
    """The receipt for a trace that was forgotten on request: its content is gone, its id is kept.

    `datasets` are the versions that held it, `affected` everything that came of them; `erased` are the digests of the
    objects that held its content, which are gone with it. Weights that were trained on it are named, not changed.
    """

    kind: Literal["receipt"] = "receipt"
    trace: Digest
    at: str
    who: str
    why: str
    datasets: tuple[Digest, ...]
    affected: tuple[Digest, ...]
    erased: tuple[Digest, ...]

    def parents(self) -> dict[str, str]:
        """The dataset versions that held the trace, numbered in their order."""
        return {f"dataset {number}": dataset for number, dataset in enumerate(self.datasets, start=1)}


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class SpecialTokens(Frozen):
    """Ids of the tokens that mean something other than text. `None` where the tokenizer has no such token."""

    pad: int | None
    unknown: int | None
    begin: int | None
    end: int | None
    turn_start: int | None = None
    turn_end: int | None = None


class Tokenizer(Record):
    """A tokenizer. `files` are the bytes of its model ({"tokenizer.json": digest, "tokenizer.model": digest})."""

    kind: Literal["tokenizer"] = "tokenizer"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset",)
    dataset: Digest | None
    algorithm: Literal["unigram", "bpe", "huggingface"]
    vocab_size: int
    special_tokens: SpecialTokens
    files: dict[str, Digest]
    settings: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """What must be equal for two token ids to mean the same text: the digest of the tokenizer's files."""
        return digest_json(self.files)


class Shard(Frozen):
    """A run of token ids, little-endian unsigned, memory-mapped from the object of that digest."""

    digest: Digest
    num_tokens: int


class TokenSplit(Frozen):
    """One split as tokens. `boundaries` is an object of uint64: the offset at which each document begins, then the end.

    `num_bytes` counts the UTF-8 bytes of the text these tokens stand for (special tokens stand for none). `targets` is an
    object of uint8, one a token: 1 where the token is one to be learnt, 0 where it is only read (None: all are to be
    learnt); `num_targets` counts the ones, and `num_target_bytes` the bytes that these stand for. `num_dropped` and
    `num_truncated` count the samples that were too long.
    """

    shards: tuple[Shard, ...]
    boundaries: Digest
    num_tokens: int
    num_documents: int
    num_bytes: int
    targets: Digest | None = added(None)
    num_targets: int | None = added(None)
    num_target_bytes: int | None = added(None)
    num_dropped: int = added(0)
    num_truncated: int = added(0)


TooLong = Literal["drop", "truncate-left", "truncate-right"]
"""What is done about a sample that has more tokens than it may: it is left out, or loses its beginning, or its end."""


class Rendering(Frozen):
    """How traces became samples. `system` is the digest of the system text (None: there is none).

    `template_digest` is of everything that decides what the template renders. A sample has at most `max_tokens` tokens;
    `too_long` is what is done about one that has more.
    """

    template: str
    template_digest: Digest
    system: Digest | None
    max_tokens: int
    too_long: TooLong


class TokenSet(Record):
    """A dataset version through a tokenizer. Every document is closed by the tokenizer's end token.

    Where there is a `rendering`, a document is a sample, and it ends as its chat template ends it.
    """

    kind: Literal["token-set"] = "token-set"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset", "tokenizer")
    dataset: Digest
    tokenizer: Digest
    tokenizer_fingerprint: Digest
    vocab_size: int
    dtype: Literal["uint16", "uint32"]
    splits: dict[str, TokenSplit]
    rendering: Rendering | None = added(None)


# ── models made elsewhere ─────────────────────────────────────────────────────────────────────────────────────────────
class ImportedModel(Record):
    """A model folder in the Hugging Face format, as it was taken in: its configuration and its weights, by digest.

    `name` is the folder's own. Weights that were pickled are kept as safetensors (`was_pickled`). `left_out` are tensors in
    the files that are only another name of one that is there.
    """

    kind: Literal["imported-model"] = "imported-model"
    name: str
    architecture: str
    files: dict[str, Digest]
    was_pickled: bool = False
    left_out: tuple[str, ...] = ()


# ── plan ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
class ModelShape(Frozen):
    """A Qwen3 decoder: RMSNorm, rotary positions, grouped-query attention with QK-norm, SwiGLU, tied embedding."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-6

    @property
    def num_parameters_per_layer(self) -> int:
        """Weights of one decoder layer, its two norms and the two head norms included."""
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size + 2 * self.head_dim

    @property
    def num_parameters(self) -> int:
        """All weights, the tied embedding counted once."""
        return self.vocab_size * self.hidden_size + self.num_layers * self.num_parameters_per_layer + self.hidden_size


class Adapter(Frozen):
    """A low-rank adapter (Hu et al. 2021, "LoRA"): W + alpha/rank · B A beside each linear map that is named like a target.

    The adapter's matrices are what is trained; W stays as it was. `dropout` is that of the adapter's input.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    dropout: float = 0.0


class ImportedShape(Frozen):
    """A causal language model that was made elsewhere: what its `config.json` says, and the record of its files (`base`).

    `num_parameters` counts its weights, tied ones once, without an adapter's. `adapter` None: all of them are trained.
    """

    base: Digest
    config: dict[str, Any]
    vocab_size: int
    num_parameters: int
    adapter: Adapter | None = None


Shape = ModelShape | ImportedShape
"""What a plan can train."""


class Optimizer(Frozen):
    """How gradients become updates. Muon takes the matrices inside the layers; AdamW takes everything else.

    `learning_rate` and `matrix_learning_rate` are peaks; both follow the schedule. Weight decay is decoupled and applies
    to matrices and the embedding, never to norms. `clip_norm` 0 means no clipping.
    """

    name: Literal["adamw", "muon"]
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip_norm: float
    matrix_learning_rate: float = 0.0
    matrix_momentum: float = 0.95
    matrix_weight_decay: float = 0.0


class Schedule(Frozen):
    """A learning-rate curve as a factor of the peak, in steps. See `train/schedule.py` for each formula."""

    name: Literal["constant", "linear", "cosine", "warmup-stable-decay", "step"]
    num_warmup_steps: int
    num_decay_steps: int
    floor: float
    step_every: int = 0
    step_factor: float = 1.0


class EarlyStopping(Frozen):
    """Stop after `patience` validations in a row without an improvement of more than `min_delta`; 0 = never.

    `metric` is also what "best" means, for the checkpoint that is kept and judged.
    """

    metric: Literal["val_loss", "bits_per_byte", "accuracy"]
    patience: int
    min_delta: float


class Stability(Frozen):
    """What is done about a step that goes wrong: skip it, then roll back, then stop.

    A step whose loss or gradient is not finite is skipped: nothing is updated. So is one whose loss or gradient norm lies
    more than `outlier_sigmas` standard deviations above the mean of the last `window` steps (0: never). `max_skips` of
    them within `window` steps roll the run back to its last scheduled checkpoint, where every later rate is multiplied by
    `rate_factor` and the skipped batches are passed over; the rollback after the `max_rollbacks`-th stops the run.
    """

    outlier_sigmas: float
    window: int
    max_skips: int
    rate_factor: float
    max_rollbacks: int


class TrainingPlan(Frozen):
    """Every number the loop needs. Steps, not epochs, are what runs: epochs were resolved into steps.

    `stability` None: a loss that is not finite ends the run. `ema_decay` 0: no average of the weights is kept. The
    anatomy of the gradients is looked at every `watch_every` steps (0: never). Beside the last `keep_last` checkpoints and
    the best one, every `keep_every`-th step's is kept (0: none). `packing`: rows are cut from one stream of tokens, or
    hold whole samples that do not see each other.
    """

    num_steps: int
    steps_per_epoch: int
    batch_size: int
    accumulation: int
    max_seq_length: int
    optimizer: Optimizer
    schedule: Schedule
    label_smoothing: float
    dropout: float
    init_scale: float
    validate_every: int
    checkpoint_every: int
    keep_last: int
    early_stopping: EarlyStopping
    sample_prompts: tuple[str, ...]
    sample_tokens: int
    stability: Stability | None = added(None)
    ema_decay: float = added(0.0)
    watch_every: int = added(0)
    keep_every: int = added(0)
    packing: Literal["stream", "samples"] = added("stream")


class Compute(Frozen):
    """Where and how the arithmetic is done. Results are bit-exact only on the same class of machine with these equal."""

    framework: Literal["reference", "torch", "transformers", "tinygrad", "tunix"]
    device: str
    dtype: Literal["float32", "bfloat16"]
    compile: bool
    num_threads: int

    def plain(self) -> "Compute":
        """The same place in uncompiled float32: how a finished model is measured."""
        return self.model_copy(update={"dtype": "float32", "compile": False})

    def for_writing(self) -> "Compute":
        """The same place in uncompiled float32 on one thread: a sequence of one leaves more threads only waiting."""
        return self.plain().model_copy(update={"num_threads": 1})


class Budgets(Frozen):
    """What the finished model may cost. `None` means there is no such budget."""

    latency_p95_ms: float | None
    inference_rss_bytes: int | None
    model_file_bytes: int | None
    training_peak_bytes: int | None


class Start(Frozen):
    """Where a run begins, other than at random weights. `source` is the id of a Checkpoint.

    `continue`: with everything the checkpoint holds, at its step. `weights`: with its weights alone, at step 0.
    """

    source: Digest
    mode: Literal["continue", "weights"]


class Plan(Record):
    """A manifest with nothing left open. The same plan on the same class of machine gives the same weights.

    `semantics` grows whenever the meaning of a plan changes, so that an old plan is never silently re-run differently.
    """

    kind: Literal["plan"] = "plan"
    parent_fields: ClassVar[tuple[str, ...]] = ("token_set",)
    semantics: Literal[1] = 1
    token_set: Digest
    seed: int
    model: Shape
    training: TrainingPlan
    compute: Compute
    budgets: Budgets
    start: Start | None = added(None)

    def parents(self) -> dict[str, str]:
        """The token set, and what the run starts from, if that is another run's checkpoint or a model made elsewhere."""
        base = {"imported_model": self.model.base} if isinstance(self.model, ImportedShape) else {}
        return super().parents() | base | ({"start": self.start.source} if self.start else {})


# ── run ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Run(Record):
    """One execution of a plan. `nonce` tells apart two runs of one plan; `environment` is the digest of its object."""

    kind: Literal["run"] = "run"
    parent_fields: ClassVar[tuple[str, ...]] = ("plan",)
    plan: Digest
    name: str
    started_at: str
    nonce: str
    environment: Digest


class Checkpoint(Record):
    """The state after `step` updates. `files` is every file of the checkpoint folder with its digest."""

    kind: Literal["checkpoint"] = "checkpoint"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    step: int
    num_tokens: int
    weights: Digest
    files: dict[str, Digest]


class Measure(Frozen):
    """One number, or the reason there is none. `value` None always comes with `why_not`."""

    value: float | None
    unit: str = ""
    why_not: str = ""

    @model_validator(mode="after")
    def _has_value_or_reason(self) -> Self:
        if self.value is None and not self.why_not:
            raise ValueError("a measure without a value says why there is none")
        return self


class Check(Frozen):
    """One row of the validation table. `passed` None: not measured (or no limit), and `why` says so."""

    name: str
    measured: Measure
    limit: float | None
    passed: bool | None
    why: str = ""


class Sample(Frozen):
    """What the model wrote after a prompt."""

    prompt: str
    text: str


class Report(Record):
    """What was found out about a checkpoint on a held-out split."""

    kind: Literal["report"] = "report"
    parent_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "token_set")
    checkpoint: Digest
    token_set: Digest
    split: str
    metrics: dict[str, Measure]
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...]


ItemStatus = Literal["scored", "unparsed", "refused", "error", "unavailable"]
"""What became of an item: only `scored` has a score; every other one says why it has none."""


class ItemScore(Frozen):
    """One row of an item table: one item under one metric.

    `output` is what the model said (None where nothing was written, as in scoring by likelihood), `answer` what was read
    out of it, `target` what was expected. `finish`: the output ended by itself, or was cut off at its length limit; None
    where nobody knows. Items of one `cluster_id` (a template, a post, a conversation) are not independent of each other.
    """

    item_id: str
    cluster_id: str | None
    slices: dict[str, str]
    metric: str
    score: float | None
    output: str | None
    answer: str | None
    target: str | None
    status: ItemStatus
    finish: Literal["end", "length"] | None = None
    why: str = ""

    @model_validator(mode="after")
    def _has_score_or_reason(self) -> Self:
        if (self.score is not None) != (self.status == "scored"):
            raise ValueError("an item has a score if it was scored, and only then")
        if self.score is None and not self.why:
            raise ValueError("an item without a score says why there is none")
        return self


class ItemSample(Frozen):
    """Some of a set's items, drawn by a seed: `num_items` of `out_of`."""

    num_items: int
    out_of: int
    seed: int


class EvaluationSettings(Frozen):
    """How outputs were asked for. `template` is what stands around an item's prompt (`{prompt}` in its place).

    `seed` is that of the evaluation; every item draws from one of its own, derived from it and the item's id. An `endpoint`
    is given the seed itself. `window` is how many tokens of a text are measured at once, each from those before it therein.
    """

    by: Literal["generation", "likelihood", "text", "predictions"]
    template: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    window: int | None = added(None)
    sample: ItemSample | None = added(None)
    endpoint: str | None = added(None)
    endpoint_model: str | None = added(None)


class Evaluation(Record):
    """What a checkpoint answered to the items of an evalset, item by item.

    `items`, `prompts` (as the model read them) and `table` (`ItemScore` rows) are objects of one JSON document a line.
    `predictions` is the object of recorded outputs where no checkpoint of ours wrote them, `imported_model` a model that was
    made elsewhere and answered as it came. `suite` is the object of the suite that asked, where one did, `judge` the record
    that says how far the judge that scored agrees with people, where that was measured. `metrics` has the version of each
    metric's definition, `statuses` how many items have which status under it, `code` the digest of the code that scored.
    Intervals, comparisons and gates are functions of the table, and are not kept.
    """

    kind: Literal["evaluation"] = "evaluation"
    parent_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "imported_model", "judge")
    checkpoint: Digest | None
    predictions: Digest | None
    evalset: str
    items: Digest
    prompts: Digest
    num_items: int
    settings: EvaluationSettings
    compute: Compute | None
    metrics: dict[str, int]
    code: Digest
    statuses: dict[str, dict[ItemStatus, int]]
    aggregates: dict[str, Measure]
    table: Digest
    imported_model: Digest | None = added(None)
    suite: Digest | None = added(None)
    judge: Digest | None = added(None)

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.checkpoint is None and self.predictions is None and self.imported_model is None:
            raise ValueError("an evaluation names the model that answered, or the predictions that were recorded")
        return self


class Outcome(Record):
    """How a run ended. A run without one is running, or was interrupted and can be resumed.

    `pruned`: a sweep stopped it, because it was behind; `error` says where and behind what.
    """

    kind: Literal["outcome"] = "outcome"
    parent_fields: ClassVar[tuple[str, ...]] = ("run", "checkpoint", "report")
    run: Digest
    status: Literal["completed", "failed", "pruned"]
    checkpoint: Digest | None
    report: Digest | None
    error: str | None = None


class Change(Frozen):
    """Something that is not as it was when the run began. `exact` False: results may differ from here on."""

    name: str
    before: str
    now: str
    exact: bool


class Drift(Record):
    """A run went on at `step` although something had changed that can change its results, because a person allowed it."""

    kind: Literal["drift"] = "drift"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    step: int
    at: str
    changes: tuple[Change, ...]


class Interval(Frozen):
    """The steps after the checkpoint of `first_step`, up to and with the one of `last_step`."""

    first_step: int
    last_step: int


class Difference(Frozen):
    """The first checkpoint that is not what was recorded, and the first tensor in it, by name.

    `computed`: computing the steps again gave something else. `stored`: it gave what was recorded, so the file was changed
    after it was written. `events`: so was the event stream. `tensor` is empty where none can be named; the verdict says why.
    """

    step: int
    tensor: str
    cause: Literal["computed", "stored", "events"] = added("computed")


class Verdict(Record):
    """What came of computing a run, or some of its intervals, again.

    `share` is the part of the run's steps that was computed again. `environment` is the digest of the object that
    describes where.
    """

    kind: Literal["verdict"] = "verdict"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    at: str
    status: Literal["verified", "differs", "cannot-verify"]
    intervals: tuple[Interval, ...]
    share: float
    difference: Difference | None
    why: str
    environment: Digest


# ── what a figure says ────────────────────────────────────────────────────────────────────────────────────────────────
class Estimate(Frozen):
    """A figure and the interval it may lie in. `value`, or the interval alone, may be undefined: `why_not` says why.

    `n` is the number of items, `num_clusters` that of the groups they come in where these were taken into account.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    num_clusters: int | None = None
    why_not: str = ""

    @model_validator(mode="after")
    def _is_whole_or_says_why(self) -> Self:
        if (self.value is None or self.low is None or self.high is None) and not self.why_not:
            raise ValueError("an estimate without a value or an interval says why")
        return self


class PairedTest(Frozen):
    """The chance of a difference at least as large where there is none (two-sided), or the reason it is undefined."""

    p_value: float | None
    n: int
    method: str
    why_not: str = ""

    @model_validator(mode="after")
    def _has_value_or_reason(self) -> Self:
        if self.p_value is None and not self.why_not:
            raise ValueError("a test without a p-value says why")
        return self


# ── scorers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class TrainedScorer(Record):
    """A scorer that was trained on a labelled file. `model` is the object of what it learnt, `labelled` the file's digest.

    `columns` are those of the file that were used ({"text": …, "label": …, "group": …}), `classes` the labels, the lowest
    level first. `kappa`, and `precision` and `recall` of each class, are of texts that it had not seen: in `num_folds` parts,
    none of which shares a group with another.
    """

    kind: Literal["scorer"] = "scorer"
    name: str
    model: Digest
    labelled: Digest
    columns: dict[str, str]
    classes: tuple[str, ...]
    num_rows: int
    num_groups: int
    num_folds: int
    seed: int
    packages: dict[str, str]
    kappa: Estimate
    precision: dict[str, Estimate]
    recall: dict[str, Estimate]


class JudgeCalibration(Record):
    """How far a judge agrees with people. `judge` is the digest of who judges and by what rubric, `labelled` of the labels.

    `kappa` is of its points and theirs, `parse_rate` the share of its verdicts that could be read.
    """

    kind: Literal["judge-calibration"] = "judge-calibration"
    model: str
    rubric: Digest
    judge: Digest
    labelled: Digest
    num_rows: int
    kappa: Estimate
    parse_rate: Estimate


# ── release ───────────────────────────────────────────────────────────────────────────────────────────────────────────
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


# ── sweeps ────────────────────────────────────────────────────────────────────────────────────────────────────────────
Number = int | float


class Dimension(Frozen):
    """One key of the manifest that a sweep varies: among `values`, or from `low` to `high`, both of them included.

    `log`: what is far apart on the logarithm is far apart. `step`: only `low` and whole numbers of steps above it.
    """

    key: str
    kind: Literal["categorical", "int", "float"]
    values: tuple[Any, ...] = ()
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None


class Objective(Frozen):
    """What trials are ranked by: a metric of the report, and which end of it is the good one."""

    metric: str
    direction: Literal["minimize", "maximize"]


class Pruning(Frozen):
    """When a trial's run is stopped at a validation because it is behind those of earlier trials at the same step.

    `median`: its best value so far is worse than the median of theirs at this step. `asha`: at the first validation from
    `warmup_steps`, and from each `reduction` times that, it is not among the best 1/`reduction`. Never before
    `startup_trials` of them have a value there, nor before `warmup_steps`.
    """

    rule: Literal["median", "asha"]
    startup_trials: int
    warmup_steps: int
    reduction: int


class Sweep(Record):
    """A search: a manifest, the keys that are varied, how, and what the trials are ranked by.

    `dataset` is what the manifest's data section gave when the sweep was begun: all trials learn from it and are held
    against its held-out part. Each trial is run with `num_seeds` seeds: the manifest's own and those after it. `seed` is
    that of the proposals. What the sweep may spend is not in here: it can be raised.
    """

    kind: Literal["sweep"] = "sweep"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset",)
    name: str
    dataset: Digest
    manifest: dict[str, Any]
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    sampler: Literal["grid", "random", "tpe"]
    num_trials: int
    num_seeds: int
    objective: Objective
    pruning: Pruning | None
    seed: int


class Trial(Record):
    """One run that a sweep asks for, put on record before it begins: the values of the trial, and a seed.

    `number` counts from 1. `repeat` counts the seeds from 0; those from the sweep's `num_seeds` on confirm a trial with
    seeds that took no part in choosing it. `plan` None: the values give none, and the outcome says why. `reused` is the run
    that had fulfilled the plan before, or the one of an earlier trial with the same plan. `proposed_by` names the sampler
    and its version.
    """

    kind: Literal["trial"] = "trial"
    parent_fields: ClassVar[tuple[str, ...]] = ("sweep", "plan")
    sweep: Digest
    number: int
    repeat: int
    values: dict[str, Any]
    seed: int
    proposed_by: str
    plan: Digest | None
    reused: Digest | None


class TrialOutcome(Record):
    """What came of a trial's run. `value` is its objective: of the report, or, where it was pruned, the last one before.

    `validations` are (step, objective) of those that count in a run's events; empty where they do not tell the objective.
    `step` is where it was pruned.
    """

    kind: Literal["trial-outcome"] = "trial-outcome"
    parent_fields: ClassVar[tuple[str, ...]] = ("trial", "run", "report")
    trial: Digest
    status: Literal["completed", "failed", "pruned"]
    run: Digest | None
    report: Digest | None
    value: float | None
    step: int | None
    validations: tuple[tuple[int, float], ...]
    error: str | None = None

    @model_validator(mode="after")
    def _has_value_or_error(self) -> Self:
        if (self.status == "completed") != (self.error is None) or (self.status == "completed" and self.value is None):
            raise ValueError("a completed trial has a value, and any other one says why it is not completed")
        return self


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
