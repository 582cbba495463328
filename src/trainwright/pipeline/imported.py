"""Models that were made elsewhere, as a start: taken in from a Hugging Face folder, trained whole or through an adapter.

Everything of a run stands beside it in the workspace: the base's files by digest, and in each checkpoint what was trained,
which is all weights or the adapter's matrices alone.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.catalogue import CATALOGUE, is_installed, open_backend
from trainwright.backends.initial import require_own
from trainwright.core.errors import InvalidValue, ModelUnreadable, TokenizerMismatch, UnsupportedPlan, WeightsMissing
from trainwright.core.manifest import AdapterSection, BudgetSection, ComputeSection, FrameworkName, Manifest
from trainwright.core.records import Adapter, Checkpoint, ImportedModel, ImportedShape, Shape
from trainwright.core.seeds import build_generator
from trainwright.core.state import Weights
from trainwright.pipeline.origin import Origin
from trainwright.pipeline.recall import typed
from trainwright.store.checkpoints import read_weights
from trainwright.store.model_folder import (
    ReadPickled,
    import_model,
    locate_tensors,
    read_config,
    read_shapes,
    read_tensors,
)
from trainwright.store.workspace import Workspace
from trainwright.tokens.huggingface import import_tokenizer

IMPORTING: tuple[FrameworkName, ...] = tuple(
    name for name in get_args(FrameworkName) if "imported" in CATALOGUE[name].models
)
"""The frameworks that have models in the Hugging Face format; `auto` takes the first. Tunix has two families of them."""

DescribeWeights = Callable[[ImportedShape], tuple[dict[str, tuple[int, ...]], frozenset[str]]]
"""{name: size} of a model's weights, and other names of tied ones."""

FULL_RATE, ADAPTER_RATE = 2e-5, 2e-4
"""AdamW's peak where a manifest leaves it open: a model that others trained long moves little."""


@dataclass(frozen=True)
class Base:
    """Where the weights lie that a checkpoint does not hold: files of safetensors, and names in them that are left out."""

    paths: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def read(self) -> dict[str, NDArray[np.float32]]:
        """The weights, in float32."""
        return read_tensors(map(Path, self.paths), self.left_out)


def is_model_folder(start: str) -> bool:
    """Whether a start names a folder rather than a model of ours."""
    return Path(start).is_dir()


def import_origin(manifest: Manifest, workspace: Workspace) -> Origin:
    """Take in the folder that `train.start` names.

    Raises PackageMissing, ModelUnreadable, WeightsMissing, PickledWeights, TokenizerUnreadable, TokenizerMismatch,
    InvalidValue (an adapter that fits nothing), UnsupportedPlan (a framework or a model that do not go together).
    """
    folder = Path(str(manifest.train.start))
    framework = _choose_framework(manifest.compute)
    open_backend(framework)
    model = import_model(folder, workspace.objects, _open_unpickler() if manifest.train.allow_pickle else None)
    found = read_shapes(locate_tensors(model, workspace.objects))
    shape = _describe(model, found, manifest.train.adapter, folder, framework, workspace)
    tokenizer = import_tokenizer(folder, workspace.objects)
    if tokenizer.vocab_size > shape.vocab_size:
        raise TokenizerMismatch(
            f"The tokenizer in {folder} has {tokenizer.vocab_size:,} ids; the model knows {shape.vocab_size:,}.",
            why="They do not belong together.",
            next_step="Copy model and tokenizer from one place.",
        )
    workspace.ledger.put(tokenizer)
    return Origin(shape, tokenizer, None)


def _open_unpickler() -> ReadPickled:
    """What reads pickled weights: torch, whichever framework trains."""
    open_backend("transformers")
    from trainwright.backends.transformers import iter_pickled

    return lambda path: iter_pickled(str(path))


def _choose_framework(compute: ComputeSection) -> FrameworkName:
    """The one that is named, or of several the first that is installed; `auto` is transformers. Raises UnsupportedPlan."""
    wanted = (compute.framework,) if isinstance(compute.framework, str) else compute.framework
    if wanted == ("auto",):
        return IMPORTING[0]
    able = [framework for framework in wanted if framework in IMPORTING]
    if not able:
        raise UnsupportedPlan(
            f"The {' and '.join(wanted)} backend cannot run a model in the Hugging Face format.",
            why=f"It has our own decoder alone. Those that can are {' and '.join(IMPORTING)}.",
            next_step="Leave compute.framework out: transformers is taken.",
        )
    return next((framework for framework in able if is_installed(framework)), able[0])


def require_runnable(shape: Shape, framework: FrameworkName) -> None:
    """Raises UnsupportedPlan where the framework cannot run a model of that shape; PackageMissing where it is not there."""
    if framework not in IMPORTING:
        require_own(shape, framework)
    elif isinstance(shape, ImportedShape):
        open_backend(framework)
        _find_describer(framework)(shape)


def _find_describer(framework: FrameworkName) -> DescribeWeights:
    """`describe_weights` of the framework's backend: what it asks of a model's weights."""
    describer: DescribeWeights = importlib.import_module(CATALOGUE[framework].module).describe_weights
    return describer


def _describe(
    model: ImportedModel,
    found: dict[str, tuple[int, ...]],
    section: AdapterSection,
    folder: Path,
    framework: FrameworkName,
    workspace: Workspace,
) -> ImportedShape:
    """The shape of a model that was taken in, after its weights were held against what its configuration asks for."""
    config = read_config(model, workspace.objects)
    draft = ImportedShape(base="0" * 64, config=config, vocab_size=1, num_parameters=1)
    try:
        wanted, tied = _find_describer(framework)(draft)
    except ValueError as error:
        raise ModelUnreadable(
            f"The model in {folder} cannot be used.",
            why=f"{error}.",
            next_step=f"Upgrade {framework}, or name another model.",
        ) from error
    for name, size in wanted.items():
        if found.get(name) != size:
            what = "is missing" if name not in found else f"has shape {found[name]}, not {size}"
            raise WeightsMissing(
                f"The weights in {folder} are not those of its config.json.",
                why=f"The weight {name} {what}.",
                next_step="Copy the whole folder again; it must be a model, not an adapter.",
            )
    strange = sorted(found.keys() - wanted.keys() - tied)
    if strange:
        raise ModelUnreadable(
            f"The weights in {folder} are not those of its config.json.",
            why=f"The model has no weight {strange[0]}.",
            next_step="Name a folder whose config.json and weights belong together.",
        )
    left_out = tuple(sorted(found.keys() - wanted.keys()))
    model = model.model_copy(update={"left_out": left_out})
    workspace.ledger.put(model)
    return ImportedShape(
        base=model.id,
        config=config,
        vocab_size=int(config["vocab_size"]),
        num_parameters=sum(int(np.prod(size)) for size in wanted.values()),
        adapter=_build_adapter(section, wanted),
    )


def _build_adapter(section: AdapterSection, weights: dict[str, tuple[int, ...]]) -> Adapter | None:
    if section.rank == 0:
        return None
    linear = {name.removesuffix(".weight").rpartition(".")[2] for name, size in weights.items() if len(size) == 2}
    for target in section.target_modules:
        if target not in linear:
            raise InvalidValue(
                f"train.adapter.target_modules names {target}, and the model has no linear map of that name.",
                why=f"It has {', '.join(sorted(linear))}.",
                next_step="Name some of these.",
            )
    return Adapter(
        rank=section.rank,
        alpha=section.alpha,
        target_modules=section.target_modules,
        dropout=section.dropout,
    )


def adapt_manifest(manifest: Manifest, origin: Origin | None) -> Manifest:
    """What a manifest leaves open, settled for a model that was made elsewhere: framework, optimizer, rate, budgets.

    Raises UnsupportedPlan for a framework that has our own decoder alone, InvalidValue for an adapter without such a model,
    and for a time budget.
    """
    if origin is None or not isinstance(origin.shape, ImportedShape):
        if manifest.train.adapter.rank:
            raise InvalidValue(
                "train.adapter is for models in the Hugging Face format.",
                why=f"This is our own decoder, trained whole; {' and '.join(IMPORTING)} train adapters of model folders.",
                next_step="Leave train.adapter out, or name a model folder as train.start.",
            )
        return manifest
    if manifest.train.time_budget_s is not None:
        raise InvalidValue(
            "train.time_budget_s cannot be used with a model in the Hugging Face format.",
            why="Its steps are not measured beforehand.",
            next_step="Set train.steps or train.epochs.",
        )
    framework = _choose_framework(manifest.compute)
    if framework != IMPORTING[0]:  # which has whatever it took in
        require_runnable(origin.shape, framework)
    changes = {"framework": framework, "compile": manifest.compute.compile is True}
    compute = manifest.compute.model_copy(update=changes)
    optimizer = manifest.train.optimizer
    if "name" in optimizer.model_fields_set and optimizer.name == "muon":
        raise UnsupportedPlan(
            "Muon cannot train a model in the Hugging Face format.",
            why=f"{' and '.join(IMPORTING)} train those with AdamW alone.",
            next_step="Set train.optimizer.name=adamw.",
        )
    if "name" not in optimizer.model_fields_set:
        optimizer = optimizer.model_copy(update={"name": "adamw"})
    if optimizer.learning_rate == "auto":
        rate = FULL_RATE if origin.shape.adapter is None else ADAPTER_RATE
        optimizer = optimizer.model_copy(update={"learning_rate": rate})
    train = manifest.train.model_copy(update={"optimizer": optimizer})
    budgets = manifest.budgets
    if not budgets.model_fields_set:  # the presets' are meant for models of their own size
        budgets = BudgetSection(latency_p95_ms=None, inference_rss_mb=None, model_file_mb=None, training_peak_mb=None)
    return manifest.model_copy(update={"compute": compute, "train": train, "budgets": budgets})


# ── weights ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def locate_base(shape: Shape, workspace: Workspace) -> Base:
    """Where the weights lie that checkpoints of this model do not hold. Nowhere, for a decoder of our own."""
    if not isinstance(shape, ImportedShape):
        return Base()
    model = typed(workspace.ledger.get(shape.base), ImportedModel)
    return Base(tuple(map(str, locate_tensors(model, workspace.objects))), model.left_out)


def read_model_weights(
    shape: Shape, path: Path, workspace: Workspace, *, expected: Checkpoint | None = None
) -> dict[str, NDArray[np.float32]]:
    """All weights of the model in a checkpoint: what it holds, and what it was trained from. Verified."""
    return locate_base(shape, workspace).read() | read_weights(path, expected=expected)


def build_adapter_weights(base: Weights, adapter: Adapter, seed: int) -> dict[str, NDArray[np.float32]]:
    """An adapter's matrices before the first update: A uniform on ±1/sqrt(inputs), B zero, so that nothing is changed yet.

    Each has a generator of its own, named after it.
    """
    matrices: dict[str, NDArray[np.float32]] = {}
    for name, weight in base.items():
        stem = name.removesuffix(".weight")
        if weight.ndim == 2 and stem.rpartition(".")[2] in adapter.target_modules:
            outputs, inputs = weight.shape
            bound = inputs**-0.5
            generator = build_generator(seed, "initial-weights", f"{stem}.lora_A.weight")
            matrices[f"{stem}.lora_A.weight"] = generator.uniform(-bound, bound, (adapter.rank, inputs)).astype(
                np.float32
            )
            matrices[f"{stem}.lora_B.weight"] = np.zeros((outputs, adapter.rank), np.float32)
    return matrices
