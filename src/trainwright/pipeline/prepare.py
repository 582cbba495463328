"""From a manifest to a plan: read the text, cut it into tokens, settle every number. Whatever is already there is reused."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from trainwright.backends.catalogue import choose_device, is_installed
from trainwright.backends.choice import Choice, Memory, choose_compute, choose_frameworks
from trainwright.backends.measure import Speed
from trainwright.core.errors import DatasetMissing, TokenizerMissing
from trainwright.core.hashing import digest_json
from trainwright.core.manifest import DataSection, Manifest
from trainwright.core.plan import (
    Pace,
    build_plan,
    resolve_num_steps,
    resolve_shape,
    resolve_training,
)
from trainwright.core.records import (
    DatasetVersion,
    Plan,
    Shape,
    Tokenizer,
    TokenSet,
    TrainingPlan,
)
from trainwright.data.dataset import build_dataset, compute_dataset_key, read_documents
from trainwright.data.sources import locate_source
from trainwright.data.trace_dataset import iter_traces
from trainwright.pipeline.imported import adapt_manifest
from trainwright.pipeline.journal import Journal, OpenPhase
from trainwright.pipeline.origin import Origin, require_same_tokenizer
from trainwright.pipeline.recall import recall, typed
from trainwright.pipeline.samples import prepare_samples, prepare_traces, read_prompt
from trainwright.prerequisites import (
    Finding,
    check_device,
    check_disk,
    check_memory,
    check_packages,
    check_python,
    check_writable,
    estimate_footprint,
    require_all,
)
from trainwright.store.shards import open_split
from trainwright.store.workspace import Workspace
from trainwright.tokens.huggingface import import_tokenizer
from trainwright.tokens.token_set import build_token_set
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer
from trainwright.train.batches import count_windows
from trainwright.train.samples import count_rows
from trainwright.watch.environment import describe_machine

NUM_SAMPLE_PROMPTS = 2
"""Held-out prompts that a model which learns from traces is asked at each validation, where the manifest names none."""

TOKENS_SEMANTICS = 1
"""Grows when the same text and settings would give another tokenizer or other tokens."""


@dataclass(frozen=True)
class Prepared:
    """A plan and the records it stands on. `choice` is how its compute was settled (None where the plan was only read)."""

    dataset: DatasetVersion
    tokenizer: Tokenizer
    token_set: TokenSet
    plan: Plan
    choice: Choice | None


def prepare(
    manifest: Manifest,
    workspace: Workspace,
    journal: Journal,
    *,
    skip_corpus: bool = False,
    skip_tokenizer: bool = False,
    origin: Origin | None = None,
    is_final: bool = True,
) -> Prepared:
    """Prerequisites → data → tokenizer → plan. With an `origin`, model and tokenizer are those that it has.

    `is_final` False: what it starts from is not there yet, so the plan is not one that could run, and is not put on record.
    """
    manifest = adapt_manifest(manifest, origin)
    with journal.phase("prerequisites") as phase:
        findings = check_prerequisites(manifest, workspace, origin)
        require_all(findings)
        phase.detail = f"{len(findings)} checks passed"
    dataset = prepare_data(manifest, workspace, journal, skip=skip_corpus)
    with journal.phase("tokenizer") as phase:
        if dataset.holds_traces:
            tokenizer, token_set = prepare_samples(manifest, dataset, workspace, phase, origin)
        else:
            tokenizer, token_set = prepare_tokens(
                manifest, dataset, workspace, phase, skip=skip_tokenizer, origin=origin
            )
    with journal.phase("plan") as phase:
        plan, choice = prepare_plan(manifest, token_set, workspace, origin)
        require_all(check_footprint(plan.model, plan.training, workspace))
        if is_final:
            workspace.ledger.put(plan)
            phase.artefacts["plan"] = plan.id
        compute = plan.compute
        _announce_fallback(manifest, choice, journal)
        phase.detail = (
            f"{plan.model.num_parameters:,} weights, {plan.training.num_steps:,} steps on {compute.framework} "
            f"{compute.dtype}{', compiled' if compute.compile else ''} ({choice.reason})"
        )
    return Prepared(dataset, tokenizer, token_set, plan, choice)


def prepare_data(manifest: Manifest, workspace: Workspace, journal: Journal, *, skip: bool = False) -> DatasetVersion:
    """The data alone: the text or the traces that the manifest names, read, cleaned, divided."""
    with journal.phase("data") as phase:
        if manifest.data.traces is None:
            return prepare_dataset(manifest, workspace, journal, phase, skip=skip)
        return prepare_traces(manifest, workspace, phase)


def _announce_fallback(manifest: Manifest, choice: Choice, journal: Journal) -> None:
    """Say aloud what a person wanted and did not get. What `auto` finds missing is in the table, and no news."""
    is_wish = manifest.compute.framework != "auto"
    for other in choice.passed_over:
        if is_wish or is_installed(other.framework):
            journal.screen.announce(f"{other.framework} was passed over: {other.problem}")
    if is_wish and choice.passed_over:
        journal.screen.announce(f"falling back to {choice.compute.framework}")


def load_prepared(workspace: Workspace, plan: Plan) -> Prepared:
    """The records that a stored plan stands on."""
    token_set = typed(workspace.ledger.get(plan.token_set), TokenSet)
    return Prepared(
        typed(workspace.ledger.get(token_set.dataset), DatasetVersion),
        typed(workspace.ledger.get(token_set.tokenizer), Tokenizer),
        token_set,
        plan,
        None,
    )


def check_prerequisites(manifest: Manifest, workspace: Workspace, origin: Origin | None = None) -> list[Finding]:
    """Every row of stage zero for this manifest. The estimate takes the vocabulary as asked for; the plan settles it."""
    (framework, *_), _ = choose_frameworks(manifest.compute, manifest.train.optimizer.name)
    device = choose_device(framework, manifest.compute.device)
    vocab_size = 4096 if manifest.tokenizer.vocab_size == "auto" else manifest.tokenizer.vocab_size
    shape = resolve_shape(manifest, vocab_size) if origin is None else origin.shape
    training = resolve_training(manifest.train, num_windows=1, num_steps=1)
    return [
        check_python(),
        *check_packages(),
        check_writable(workspace.root),
        check_device(framework, device, wanted=True),
        *check_footprint(shape, training, workspace),
    ]


def check_footprint(shape: Shape, training: TrainingPlan, workspace: Workspace) -> list[Finding]:
    """Disk and memory for this model and batch."""
    footprint = estimate_footprint(shape, training)
    return [check_disk(workspace.root, footprint.disk_bytes), check_memory(footprint.memory_bytes)]


def prepare_dataset(
    manifest: Manifest, workspace: Workspace, journal: Journal, phase: OpenPhase, *, skip: bool
) -> DatasetVersion:
    """The dataset version that the manifest describes: the one that is there if no byte of its source changed."""
    section = manifest.data
    if skip:
        dataset = _recall_dataset(section, workspace)
        phase.reuse()
    else:
        located = locate_source(section, downloads=workspace.downloads, on_progress=journal.screen.show_progress)
        for note in located.notes:
            journal.screen.announce(note)
        key = compute_dataset_key(located, section)
        known = recall(workspace, key, DatasetVersion)
        if known is not None:
            dataset = known
            phase.reuse()
        else:
            dataset = build_dataset(located, section, workspace.objects, on_progress=journal.screen.show_progress)
            workspace.ledger.put(dataset)
            workspace.ledger.remember(key, dataset.id)
    workspace.ledger.remember(_newest_dataset_key(section), dataset.id)
    phase.artefacts["dataset"] = dataset.id
    train = dataset.splits["train"]
    validation = dataset.splits["validation"]
    phase.detail = (
        f"{train.num_documents:,} training and {validation.num_documents:,} held-out documents, "
        f"{(train.num_bytes + validation.num_bytes) / 1e6:.2f} MB of {section.corpus}"
    )
    if dataset.num_dropped_duplicates:
        phase.detail += f", {dataset.num_dropped_duplicates:,} duplicates of held-out text dropped"
    return dataset


def prepare_tokens(
    manifest: Manifest,
    dataset: DatasetVersion,
    workspace: Workspace,
    phase: OpenPhase,
    *,
    skip: bool,
    origin: Origin | None = None,
) -> tuple[Tokenizer, TokenSet]:
    """The tokenizer for this dataset (that of the `origin`, where there is one), and the dataset as tokens."""
    section = manifest.tokenizer
    settings = {"stage": "tokenizer", "semantics": TOKENS_SEMANTICS, "section": section.model_dump()}
    key = digest_json({**settings, "train": dataset.splits["train"].documents})
    if origin is not None:
        tokenizer: Tokenizer | None = origin.tokenizer
    else:
        tokenizer = None if section.path else recall(workspace, key, Tokenizer)
    if tokenizer is None and skip:
        raise TokenizerMissing(
            "There is no tokenizer for this corpus and these settings in the workspace.",
            why="--skip-tokenizer reuses one and never trains it.",
            next_step="Leave --skip-tokenizer out once.",
        )
    reused = tokenizer is not None
    if tokenizer is None:
        if section.path:
            tokenizer = import_tokenizer(Path(section.path), workspace.objects)
        else:
            tokenizer = train_tokenizer(
                section, dataset, lambda: read_documents(dataset, "train", workspace.objects), workspace.objects
            )
        workspace.ledger.put(tokenizer)
        workspace.ledger.remember(key, tokenizer.id)

    key = digest_json(
        {"stage": "tokens", "semantics": TOKENS_SEMANTICS, "dataset": dataset.id, "tokenizer": tokenizer.id}
    )
    token_set = recall(workspace, key, TokenSet)
    if token_set is None:
        token_set = build_token_set(
            dataset,
            tokenizer,
            open_tokenizer(tokenizer, workspace.objects),
            lambda split: read_documents(dataset, split, workspace.objects),
            workspace.objects,
        )
        workspace.ledger.put(token_set)
        workspace.ledger.remember(key, token_set.id)
    elif reused:
        phase.reuse()
    phase.artefacts |= {"tokenizer": tokenizer.id, "token_set": token_set.id}
    num_tokens = token_set.splits["train"].num_tokens
    phase.detail = f"{tokenizer.algorithm}, {tokenizer.vocab_size:,} pieces, {num_tokens:,} training tokens"
    return tokenizer, token_set


def prepare_plan(
    manifest: Manifest, token_set: TokenSet, workspace: Workspace, origin: Origin | None = None
) -> tuple[Plan, Choice]:
    """Settle every number. A time budget becomes steps here, from the measured pace."""
    shape = resolve_shape(manifest, token_set.vocab_size) if origin is None else origin.shape
    training, choice = _settle_training(manifest, shape, token_set, workspace, is_new=origin is None)
    if origin is not None:
        require_same_tokenizer(origin, token_set)
    start = None if origin is None else origin.start
    if token_set.rendering is not None:
        training = training.model_copy(
            update={"packing": "samples", "sample_prompts": _choose_prompts(manifest, token_set, workspace)}
        )
    return build_plan(manifest, token_set, shape, training, choice.compute, start), choice


def _settle_training(
    manifest: Manifest, shape: Shape, token_set: TokenSet, workspace: Workspace, *, is_new: bool
) -> tuple[TrainingPlan, Choice]:
    """How it is trained, and where."""
    train = manifest.train
    num_windows = _count_windows(token_set, "train", train.max_seq_length, workspace)

    def resolve(num_steps: int) -> TrainingPlan:
        return resolve_training(train, num_windows, num_steps, is_new=is_new)

    def choose(training: TrainingPlan) -> Choice:
        return choose_compute(
            manifest.compute,
            shape,
            training,
            machine=describe_machine(),
            memory=Memory(workspace.read_measurement, workspace.write_measurement),
            time_budget_s=train.time_budget_s,
        )

    if train.time_budget_s is None:
        training = resolve(resolve_num_steps(train, num_windows, None))
        return training, choose(training)

    def fit(choice: Choice) -> TrainingPlan:
        num_held_out = _count_windows(token_set, "validation", train.max_seq_length, workspace)
        pace = _pace(choice.speed, num_held_out, train.batch_size)
        return resolve(resolve_num_steps(train, num_windows, pace))

    short = resolve(1)
    choice = choose(short)
    training = fit(choice)
    # How long a run is decides on dropout, and a step that drops takes longer.
    if training.dropout and not short.dropout:
        choice = choose(training)
        training = fit(choice)
    return training, choice


def _choose_prompts(manifest: Manifest, token_set: TokenSet, workspace: Workspace) -> tuple[str, ...]:
    """What the model is asked at each validation: the manifest's prompts, else those of the first held-out traces."""
    if "sample_prompts" in manifest.train.model_fields_set:
        return manifest.train.sample_prompts
    dataset = typed(workspace.ledger.get(token_set.dataset), DatasetVersion)
    prompts = (read_prompt(trace) for trace in iter_traces(dataset, "validation", workspace.objects))
    return tuple(islice(prompts, NUM_SAMPLE_PROMPTS))


def _count_windows(token_set: TokenSet, split: str, seq_length: int, workspace: Workspace) -> int:
    """Rows of T tokens that an epoch of a split fills: windows of a stream, or packed samples."""
    content = token_set.splits[split]
    if token_set.rendering is not None:
        return count_rows(open_split(content, token_set.dtype, workspace.objects), seq_length)
    return count_windows(content.num_tokens, seq_length) if split == "train" else -(-content.num_tokens // seq_length)


def _pace(speed: Speed | None, num_held_out: int, batch_size: int) -> Pace:
    if speed is None or speed.step_s is None or speed.start_s is None or speed.score_s is None:
        raise ValueError("a time budget is always measured")
    num_batches = -(-num_held_out // batch_size)
    return Pace(start_s=speed.start_s, step_s=speed.step_s, validation_s=num_batches * speed.score_s)


def _what_matters(section: DataSection) -> dict[str, object]:
    """The settings that a dataset depends on. Where its bytes came from, and how often, is not among them."""
    return section.model_dump(exclude={"refresh", "sha256"})


def _newest_dataset_key(section: DataSection) -> str:
    return digest_json({"stage": "newest-data", "section": _what_matters(section)})


def _recall_dataset(section: DataSection, workspace: Workspace) -> DatasetVersion:
    dataset = recall(workspace, _newest_dataset_key(section), DatasetVersion)
    if dataset is None:
        raise DatasetMissing(
            f"There is no dataset made from {section.corpus} in the workspace {workspace.root}.",
            why="--skip-corpus reuses one and never reads the source.",
            next_step="Leave --skip-corpus out once.",
        )
    return dataset
