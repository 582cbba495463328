"""From traces to samples as tokens: which traces, laid out by which template, read by which tokenizer."""

from collections.abc import Iterator
from pathlib import Path

from trainwright.core.errors import InvalidValue
from trainwright.core.hashing import digest_json
from trainwright.core.manifest import Manifest
from trainwright.core.pieces import Sample
from trainwright.core.records import DatasetVersion, Tokenizer, TokenSet
from trainwright.core.traces import AnyTrace, Trace
from trainwright.data.dataset import TRAIN, VALIDATION
from trainwright.data.trace_dataset import iter_traces
from trainwright.data.trace_sources import BUILTIN, build_source_dataset, compute_source_key
from trainwright.pipeline.datasets import find_dataset, require_usable
from trainwright.pipeline.journal import OpenPhase
from trainwright.pipeline.origin import Origin
from trainwright.pipeline.recall import recall
from trainwright.pipeline.rendering import describe_rendering, iter_samples, open_template
from trainwright.store.workspace import Workspace
from trainwright.tokens.huggingface import import_tokenizer
from trainwright.tokens.token_set import build_sample_token_set
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer

SAMPLES_SEMANTICS = 1
"""Grows when the same traces and settings would give other samples or other tokens."""


def prepare_traces(manifest: Manifest, workspace: Workspace, phase: OpenPhase) -> DatasetVersion:
    """The version of traces that the manifest names, or that is made of the source it names.

    Raises UnknownRef, TraceForgotten, InvalidValue (a version without a held-out part), and what reading raises.
    """
    source, share = str(manifest.data.traces), manifest.data.split.validation_share
    if source.startswith(BUILTIN) or Path(source).exists() or "@" not in source:
        key = compute_source_key(source, share, manifest.seed)
        dataset = recall(workspace, key, DatasetVersion)
        if dataset is None:
            dataset = build_source_dataset(source, share, manifest.seed, workspace.objects)
            workspace.ledger.put(dataset)
            workspace.ledger.remember(key, dataset.id)
        else:
            phase.reuse()
    else:
        dataset = find_dataset(source, workspace)
        phase.reuse()
    require_usable(dataset, workspace)
    missing = [split for split in (TRAIN, VALIDATION) if split not in dataset.splits]
    if missing:
        raise InvalidValue(
            f"{source} has no split {missing[0]}.",
            why=f"Its splits are {', '.join(sorted(dataset.splits))}; a run learns from one and is measured on the other.",
            next_step="Build a version with both: trainwright data build NAME@VERSION --split 0.1",
        )
    phase.artefacts["dataset"] = dataset.id
    train, held_out = dataset.splits[TRAIN], dataset.splits[VALIDATION]
    phase.detail = f"{train.num_documents:,} training and {held_out.num_documents:,} held-out traces of {source}"
    return dataset


def prepare_samples(
    manifest: Manifest, dataset: DatasetVersion, workspace: Workspace, phase: OpenPhase, origin: Origin | None
) -> tuple[Tokenizer, TokenSet]:
    """The tokenizer (the origin's, a folder's, or one trained on the rendered traces), and the samples as tokens."""
    section, objects = manifest.data, workspace.objects
    record = _prepare_tokenizer(manifest, dataset, workspace) if origin is None else origin.tokenizer
    opened = open_tokenizer(record, objects)
    asked = None if section.template == "auto" else section.template
    with open_template(asked, record, opened, objects) as template:
        if section.system is not None:
            objects.put(section.system.encode("utf-8"))
        rendering = describe_rendering(template, section.system, manifest.train.max_seq_length + 1, section.too_long)
        key = digest_json(
            {
                "stage": "samples",
                "semantics": SAMPLES_SEMANTICS,
                "dataset": dataset.id,
                "tokenizer": record.id,
                "rendering": rendering.model_dump(mode="json"),
            }
        )
        token_set = recall(workspace, key, TokenSet)
        if token_set is None:
            samples: dict[str, Iterator[Sample]] = {
                split: iter_samples(iter_traces(dataset, split, objects), template, section.system)
                for split in (TRAIN, VALIDATION)
            }
            token_set = build_sample_token_set(dataset, record, opened, samples, rendering, objects)
            workspace.ledger.put(token_set)
            workspace.ledger.remember(key, token_set.id)
        else:
            phase.reuse()
    phase.artefacts |= {"tokenizer": record.id, "token_set": token_set.id}
    split = token_set.splits[TRAIN]
    counted = {"dropped": split.num_dropped, "truncated": split.num_truncated}
    phase.detail = (
        f"{split.num_documents:,} samples in the {template.name} template, {split.num_targets:,} of "
        + ", ".join(
            [
                f"{split.num_tokens:,} tokens to learn",
                *(f"{number:,} too long and {what}" for what, number in counted.items() if number),
            ]
        )
    )
    return record, token_set


def read_prompt(trace: AnyTrace) -> str:
    """What a trace's user asks first."""
    if isinstance(trace, Trace):
        return trace.prompt
    return next((message.content for message in trace.messages if message.role == "user"), trace.messages[0].content)


def _prepare_tokenizer(manifest: Manifest, dataset: DatasetVersion, workspace: Workspace) -> Tokenizer:
    section = manifest.tokenizer
    if section.path is not None:
        record = import_tokenizer(Path(section.path), workspace.objects)
        workspace.ledger.put(record)
        return record
    key = digest_json(
        {
            "stage": "samples-tokenizer",
            "semantics": SAMPLES_SEMANTICS,
            "section": section.model_dump(),
            "train": dataset.splits[TRAIN].documents,
        }
    )
    known = recall(workspace, key, Tokenizer)
    if known is not None:
        return known
    record = train_tokenizer(
        section,
        dataset,
        lambda: (trace.text for trace in iter_traces(dataset, TRAIN, workspace.objects)),
        workspace.objects,
    )
    workspace.ledger.put(record)
    workspace.ledger.remember(key, record.id)
    return record
