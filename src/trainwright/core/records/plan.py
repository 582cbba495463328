"""All that a training depends on, settled before it begins."""

from typing import ClassVar, Literal

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record, added
from trainwright.core.records.models import ImportedShape, Shape


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
