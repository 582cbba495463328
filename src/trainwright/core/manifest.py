"""The manifest: what a person writes. Every key has a default, none is forgiven a typo, each number has a stated range.

A manifest is built in layers, later ones winning: defaults, preset, file, dotted overrides (`train.batch_size=64`). "auto"
marks what is resolved when the plan is made, from the data and the machine.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trainwright.core.errors import (
    InvalidValue,
    ManifestNotFound,
    ManifestUnreadable,
    OutOfRange,
    UnknownKey,
    UsageError,
)
from trainwright.core.presets import PRESETS

Auto = Literal["auto"]
FrameworkName = Literal["torch", "reference", "transformers", "tinygrad", "tunix"]
LearningRate = Annotated[float, Field(ge=1e-6, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the manifest: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitSection(Section):
    """How text is divided before any window is cut.

    `by: document` keeps every n-th document (validation_share 0.1: every tenth) for validation. `by: block` first cuts each
    file into blocks of `block_lines` lines and treats those as the documents. `auto` takes documents where the source has
    at least ten of them, else blocks.
    """

    by: Literal["auto", "document", "block"] = "auto"
    validation_share: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    block_lines: Annotated[int, Field(ge=1, le=1_000_000)] = 500


class DataSection(Section):
    """Where the text comes from, or the traces. `validation` names a held-out source of text of its own, instead of a split.

    With `traces`, the model learns to answer: each trace or conversation is laid out by `template`, and what the assistant
    says is what is learnt. Held-out traces are those of the version's own split, else a share of all of them.
    """

    corpus: str = "builtin:stories"
    traces: Annotated[str, Field(min_length=1)] | None = None
    template: Annotated[str, Field(min_length=1)] = "auto"
    system: Annotated[str, Field(min_length=1)] | None = None
    too_long: Literal["drop", "truncate-left", "truncate-right"] = "drop"
    validation: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    text_field: str = "text"
    refresh: bool = False
    split: SplitSection = SplitSection()


class TokenizerSection(Section):
    """A tokenizer trained on the training split, or a Hugging Face tokenizer folder (`path`)."""

    algorithm: Literal["unigram", "bpe"] = "unigram"
    vocab_size: Auto | Annotated[int, Field(ge=256, le=65_535)] = "auto"
    path: str | None = None


class ModelSection(Section):
    """The decoder's size. `layers: auto` takes as many as fit into `max_parameters`."""

    hidden_size: Annotated[int, Field(ge=8, le=16_384)] = 160
    layers: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    heads: Annotated[int, Field(ge=1, le=256)] = 5
    kv_heads: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    head_dim: Annotated[int, Field(ge=2, le=512)] = 32
    intermediate_size: Annotated[int, Field(ge=8, le=65_536)] = 448
    max_parameters: Annotated[int, Field(ge=1_000)] = 2_450_000
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0


class AdapterSection(Section):
    """A LoRA adapter for a model in the Hugging Face format: small matrices beside the named linear maps are trained, and the
    model itself stays as it was. Without one (`rank: 0`) all weights are trained.
    """

    rank: Annotated[int, Field(ge=0, le=1024)] = 0
    alpha: Annotated[float, Field(gt=0)] = 16.0
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "k_proj", "v_proj", "o_proj")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ScheduleSection(Section):
    """The learning-rate curve. `decay_share` is the part of all steps spent decaying (warmup-stable-decay)."""

    name: Literal["constant", "linear", "cosine", "warmup-stable-decay", "step"] = "warmup-stable-decay"
    warmup_steps: Auto | Annotated[int, Field(ge=0)] = "auto"
    decay_share: Share = 0.6
    floor: Share = 0.0
    step_every: Annotated[int, Field(ge=0)] = 0
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.5


class OptimizerSection(Section):
    """Peaks and constants. `learning_rate` is AdamW's; `matrix_learning_rate` is Muon's, for the matrices in the layers,
    and by default a fixed multiple of `learning_rate`, so that one number turns both."""

    name: Literal["adamw", "muon"] = "muon"
    learning_rate: Auto | LearningRate = "auto"
    matrix_learning_rate: Auto | LearningRate = "auto"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.8
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    epsilon: Annotated[float, Field(gt=0, le=1e-2)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.1
    matrix_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    matrix_weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.1
    clip_norm: Annotated[float, Field(ge=0)] = 1.0


class EarlyStoppingSection(Section):
    """Stop after `patience` validations without a gain of more than `min_delta` on `metric`. 0: never stop early.

    `metric` also says which checkpoint is the best one, with or without early stopping.
    """

    metric: Literal["val_loss", "bits_per_byte", "accuracy"] = "val_loss"
    patience: Annotated[int, Field(ge=0)] = 0
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class StabilitySection(Section):
    """What is done about a step that goes wrong: skip it; after several, roll back; after several of those, stop.

    `enabled: false` ends the run at the first loss that is not finite, and skips nothing. The defaults: six standard
    deviations over 128 steps are far outside what a sound run does, and far inside what an exploding batch does; eight
    skips in a window are more than a few bad batches; half the rate is the usual remedy, and what two halvings do not
    mend needs a person.
    """

    enabled: bool = True
    outlier_sigmas: Annotated[float, Field(ge=0, le=100)] = 6.0
    window: Annotated[int, Field(ge=8, le=4096)] = 128
    max_skips: Annotated[int, Field(ge=1, le=4096)] = 8
    rate_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_rollbacks: Annotated[int, Field(ge=0, le=100)] = 2


class TrainSection(Section):
    """Where from, how long and how. With `start`, model and tokenizer are that model's, and their own sections stay out.

    At most one of `epochs`, `steps` and `time_budget_s` may be set; the preset sets one.

    Whoever sets one later replaces the one set earlier, whichever of the three that was.
    """

    start: Annotated[str, Field(min_length=1)] | None = None
    allow_pickle: bool = False
    adapter: AdapterSection = AdapterSection()
    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    time_budget_s: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    max_seq_length: Annotated[int, Field(ge=32, le=8192)] = 128
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Auto | Annotated[float, Field(ge=0, lt=1)] = "auto"
    init_scale: Annotated[float, Field(gt=0, le=1)] = 0.02
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    early_stopping: EarlyStoppingSection = EarlyStoppingSection()
    stability: StabilitySection = StabilitySection()
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: Auto | Annotated[int, Field(ge=1)] = "auto"
    checkpoint_every: Auto | Annotated[int, Field(ge=1)] = "auto"
    watch_every: Auto | Annotated[int, Field(ge=0)] = "auto"
    keep_last: Annotated[int, Field(ge=1)] = 3
    keep_every: Annotated[int, Field(ge=0)] = 0
    sample_prompts: tuple[str, ...] = ("Once upon a time",)
    sample_tokens: Annotated[int, Field(ge=1, le=2048)] = 60


class EvaluateSection(Section):
    """What a model that learnt from traces is asked afterwards, and the model it started from before: held-out traces'
    prompts, against their answers. The two are compared item by item.
    """

    items: Annotated[int, Field(ge=0, le=100_000)] = 0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 256


class ComputeSection(Section):
    """Where the arithmetic is done. `auto` is resolved by probing and measuring this machine."""

    framework: (
        Literal["auto", "torch", "reference", "transformers", "tinygrad", "tunix"]
        | Annotated[tuple[FrameworkName, ...], Field(min_length=1)]
    ) = "auto"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Auto | bool = "auto"
    threads: Auto | Annotated[int, Field(ge=1, le=1024)] = "auto"


class BudgetSection(Section):
    """What the finished model may cost; null switches a budget off."""

    latency_p95_ms: Annotated[float, Field(gt=0)] | None = 250.0
    inference_rss_mb: Annotated[float, Field(gt=0)] | None = 400.0
    model_file_mb: Annotated[float, Field(gt=0)] | None = 10.0
    training_peak_mb: Annotated[float, Field(gt=0)] | None = 512.0


class WatchSection(Section):
    """Who follows the run, beside its own files. None of this is part of the plan: it changes no number of the run."""

    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    folder: str | None = None
    project: Annotated[str, Field(min_length=1)] = "trainwright"
    uri: str | None = None
    alerts: Annotated[str, Field(min_length=1)] | None = None


class LimitsSection(Section):
    """What a run may spend, all processes that worked on it together; null: there is no such limit."""

    money: Annotated[float, Field(gt=0)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    energy_kwh: Annotated[float, Field(gt=0)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None


class CostsSection(Section):
    """Under what a run's costs are counted, at which prices, and how much it may spend before it is stopped.

    None of this is part of the plan: it changes no number of the run, and a limit can be raised while the run stands still.
    """

    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    prices: Annotated[str, Field(min_length=1)] | None = None
    limits: LimitsSection = LimitsSection()


class Manifest(Section):
    """The whole manifest. `name` is what refs are made from (`name@latest`); by default it is the corpus's own name.

    `finetune` is a second manifest, for a run that starts from the first one's model. It inherits all but `data` and `name`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    preset: Literal["quick", "low-memory", "balanced", "high"] = "balanced"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1337
    data: DataSection = DataSection()
    tokenizer: TokenizerSection = TokenizerSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    compute: ComputeSection = ComputeSection()
    evaluate: EvaluateSection = EvaluateSection()
    budgets: BudgetSection = BudgetSection()
    watch: WatchSection = WatchSection()
    costs: CostsSection = CostsSection()
    finetune: "Manifest | None" = None


LENGTH_KEYS = ("epochs", "steps", "time_budget_s")


def parse_manifest(
    path: Path | None, overrides: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> Manifest:
    """A manifest from its layers: preset, file at `path`, `flags` (dotted key → value), then `overrides` ("key=value").

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue, OutOfRange.
    """
    person: dict[str, Any] = {} if path is None else read_document(path)
    for dotted, value in (flags or {}).items():
        _merge(person, _nest(dotted, value))
    asked: dict[str, Any] = {}
    for override in overrides:
        _merge(asked, _parse_override(override))
    if _sets_length(asked):
        _drop_length(person)
    tuned, asked_of_tuned = person.get("finetune"), asked.get("finetune")
    if isinstance(tuned, dict) and isinstance(asked_of_tuned, Mapping) and _sets_length(asked_of_tuned):
        _drop_length(tuned)
    _merge(person, asked)
    _require_nothing_of_the_model(person)
    _require_one_source(person)
    preset_name = person.get("preset", "balanced")
    layered: dict[str, Any] = {}
    _merge(layered, PRESETS.get(preset_name, {}) if isinstance(preset_name, str) else {})
    if _sets_length(person):
        _drop_length(layered)
    _merge(layered, person)
    tuned = layered.pop("finetune", None)
    manifest = _validate(layered)
    if tuned is None:
        return manifest
    return manifest.model_copy(update={"finetune": _validate(_layer_finetune(layered, tuned, manifest), "finetune.")})


NOT_FOR_FINETUNE = {
    "model": "It keeps the shape of the model it starts from.",
    "tokenizer": "It keeps the tokenizer of the model it starts from.",
    "preset": "It inherits what the preset set for the first run.",
    "finetune": "There are two runs, one after the other.",
}


def _layer_finetune(first: Mapping[str, Any], tuned: Any, manifest: "Manifest") -> dict[str, Any]:
    """The second run's manifest: the first one's, without its data and name, and what `finetune` says on top.

    Raises InvalidValue for what a fine-tuning cannot have.
    """
    if not isinstance(tuned, Mapping) or not isinstance(tuned.get("data"), Mapping):
        raise InvalidValue(
            "finetune does not say what to learn from.",
            why="It is a section with a data section of its own.",
            next_step="For example: finetune: {data: {traces: builtin:arithmetic}, train: {epochs: 2}}",
        )
    train = tuned.get("train")
    wrong = {f"finetune.{key}": why for key, why in NOT_FOR_FINETUNE.items() if key in tuned}
    if isinstance(train, Mapping) and "start" in train:
        wrong["finetune.train.start"] = "It starts from the model that the first run makes."
    if manifest.data.traces is not None and not wrong:
        wrong["finetune"] = "The first run of the two learns from text; data.traces says otherwise."
    for key, why in wrong.items():
        raise InvalidValue(f"{key} cannot be set here.", why=why, next_step=f"Leave {key} out.")
    document = _copied({key: value for key, value in first.items() if key not in ("data", "name")})
    if isinstance(document.get("train"), dict):
        document["train"].pop("start", None)
    if _sets_length(tuned):
        _drop_length(document)
    _merge(document, tuned)
    return document


def _require_nothing_of_the_model(person: Mapping[str, Any]) -> None:
    """A run that starts from a model keeps that model's shape and tokenizer: saying something else is refused."""
    train = person.get("train")
    if not isinstance(train, Mapping) or train.get("start") is None:
        return
    for section in ("model", "tokenizer"):
        if person.get(section):
            raise InvalidValue(
                f"The manifest sets train.start and the section {section}.",
                why="A run that starts from a model keeps that model's shape and tokenizer.",
                next_step=f"Leave {section} out, or train from random weights: without train.start.",
            )


def _require_one_source(person: Mapping[str, Any]) -> None:
    """Text and traces are not learnt from at once."""
    for prefix, document in (("", person), ("finetune.", person.get("finetune"))):
        data = document.get("data") if isinstance(document, Mapping) else None
        if isinstance(data, Mapping) and data.get("traces") is not None:
            for key in ("corpus", "validation", "sha256"):
                if data.get(key) is not None:
                    raise InvalidValue(
                        f"The manifest sets {prefix}data.traces and {prefix}data.{key}.",
                        why="A run learns from traces or from text.",
                        next_step="Leave one of them out.",
                    )


def read_document(path: Path) -> dict[str, Any]:
    """What a person wrote into a manifest's file, as it stands there. Raises ManifestNotFound, ManifestUnreadable."""
    if not path.is_file():
        raise ManifestNotFound(
            f"There is no manifest at {path}.",
            next_step="Check the path, or leave it out to train with the defaults: trainwright run",
        )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date such as 2025-13-01
        raise ManifestUnreadable(
            f"{path} is not YAML.", why=" ".join(str(error).split()), next_step="Mend what is named, and run again."
        ) from error
    except OSError as error:
        raise ManifestUnreadable(
            f"{path} cannot be read.", why=f"The operating system said: {error.strerror}.", next_step="Check the file."
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ManifestUnreadable(
            f"{path} does not hold a mapping.",
            why="A manifest is a set of `key: value` lines.",
            next_step="See docs/manifest.md.",
        )
    return document


def _parse_override(override: str) -> dict[str, Any]:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise InvalidValue(
            f"{override!r} is not an override.",
            why="An override is key=value, with dots between the levels.",
            next_step="For example: trainwright run train.batch_size=64",
        )
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidValue(
            f"The value of {dotted} is not YAML: {text!r}.",
            why=" ".join(str(error).split()),
            next_step=f"Put text in quotes: {dotted}='\"…\"'",
        ) from error
    return _nest(dotted, as_number(value))


def list_override_keys(overrides: Sequence[str]) -> list[str]:
    """The dotted keys that "key=value" overrides set, those inside a value such as `train={steps: 9}` too."""
    return [key for override in overrides for key in _iter_leaf_keys(_parse_override(override))]


def _iter_leaf_keys(document: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _iter_leaf_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def as_number(value: Any) -> Any:
    """YAML 1.1 reads 3e-4 as text; a person means the number. Words such as `inf` stay words."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    nested: Any = value
    for key in reversed(dotted.split(".")):
        nested = {key: nested}
    return dict(nested)


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(_copied(value)) if isinstance(value, Mapping) else value


def _copied(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(item) if isinstance(item, Mapping) else item for key, item in value.items()}


def _sets_length(document: Mapping[str, Any]) -> bool:
    train = document.get("train")
    return isinstance(train, Mapping) and any(train.get(key) is not None for key in LENGTH_KEYS)


def _drop_length(document: dict[str, Any]) -> None:
    train = document.get("train")
    if isinstance(train, dict):  # a person's may be anything; what is wrong with it is said later
        for key in LENGTH_KEYS:
            train.pop(key, None)


def _validate(document: dict[str, Any], prefix: str = "") -> Manifest:
    """`prefix` is what stands before the keys where a person wrote them."""
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise _translate(error.errors(include_url=False), prefix) from None
    lengths = [key for key in LENGTH_KEYS if getattr(manifest.train, key) is not None]
    if len(lengths) != 1:
        raise InvalidValue(
            f"{prefix}train sets {' and '.join(lengths) or 'no length'}.",
            why="A run has one length: epochs, steps or time_budget_s.",
            next_step="Keep one of train.epochs, train.steps, train.time_budget_s.",
        )
    return manifest


_RANGE_COMPLAINTS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def _translate(details: Sequence[ErrorDetails], prefix: str = "") -> UsageError:
    """pydantic's complaints about the first wrong key as one of our errors, with the range or the nearest key named."""
    known = list(iter_manifest_keys())
    first = details[0]
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_key(".".join(str(part) for part in first["loc"]), known, prefix)
    dotted = _key_of(first, known)
    # A key that takes `auto` or a number has one complaint for each of the two.
    complaints = [detail for detail in details if _key_of(detail, known) == dotted]
    given = first.get("input")
    if any(detail["type"] in _RANGE_COMPLAINTS for detail in complaints):
        bounds = _bounds_of(dotted)
        return OutOfRange(
            f"{prefix}{dotted} is {given!r}; its range is {bounds}.", next_step=f"Choose a {dotted} in that range."
        )
    why = ", or ".join(dict.fromkeys(_plain_words(detail) for detail in complaints))
    return InvalidValue(
        f"{prefix}{dotted} is {given!r}.", why=f"{why}.", next_step="See docs/manifest.md for this key."
    )


def _key_of(detail: ErrorDetails, known: Sequence[str]) -> str:
    """The dotted key a complaint is about: its location without union branches ("int", "literal['auto']") and indices."""
    keys = [str(part) for part in detail["loc"]]
    while keys and ".".join(keys) not in known:
        keys.pop()
    return ".".join(keys)


def _plain_words(detail: ErrorDetails) -> str:
    return "It must be a section: more keys, indented below it" if detail["type"] == "model_type" else detail["msg"]


def _unknown_key(dotted: str, known: list[str], prefix: str = "") -> UnknownKey:
    if dotted in known:
        return UnknownKey(
            f"The manifest has no key written {dotted!r}.",
            why="In a file, levels are lines that are indented, not dots.",
            next_step=f"Write {dotted.replace('.', ': ')}: … with each level on a line of its own, indented.",
        )
    leaf = dotted.rpartition(".")[2]
    by_leaf = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.75) or [
        by_leaf[match] for match in difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6)
    ]
    hint = f"Did you mean {prefix}{near[0]}?" if near else "docs/manifest.md lists every key."
    return UnknownKey(f"The manifest has no key {prefix}{dotted}.", why=hint, next_step="Mend the key and run again.")


def iter_manifest_keys(section: type[Section] = Manifest, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the manifest, sections included, in order."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from iter_manifest_keys(field.annotation, f"{prefix}{name}.")


def require_manifest_key(dotted: str) -> None:
    """Raises UnknownKey, naming the nearest, where the manifest has no such key; InvalidValue where it is a section."""
    known = list(iter_manifest_keys())
    if dotted not in known:
        raise _unknown_key(dotted, known)
    if any(key.startswith(f"{dotted}.") for key in known):
        raise InvalidValue(
            f"{dotted} is a section of the manifest, and has no value of its own.",
            next_step=f"Name one of its keys: docs/manifest.md lists them below {dotted}.",
        )


def schema_of_keys(section: type[Section]) -> dict[str, Any]:
    """{key: JSON schema} of a section's own keys."""
    schema = section.model_json_schema()
    # A section that may hold itself is described by reference.
    properties: dict[str, Any] = schema.get("properties") or schema["$defs"][section.__name__]["properties"]
    return properties


def _bounds_of(dotted: str) -> str:
    """The range of a numeric key as a person writes it, or "" where it has none."""
    section: Any = Manifest
    *outer, leaf = dotted.split(".")
    for key in outer:
        section = section.model_fields[key].annotation
    if leaf not in section.model_fields:
        return ""
    schema = schema_of_keys(section)[leaf]
    for option in [schema, *schema.get("anyOf", [])]:
        ends = {bound: _plain_number(option[bound]) for bound in _BOUND_WORDS if bound in option}
        if ends.keys() == {"minimum", "maximum"}:
            return f"{ends['minimum']}–{ends['maximum']}"
        if ends:
            return " and ".join(f"{_BOUND_WORDS[bound]} {end}" for bound, end in ends.items())
    return ""


_BOUND_WORDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def _plain_number(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else f"{number}"
