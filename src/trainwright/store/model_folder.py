"""A causal language model folder in the Hugging Face format: taken in by digest, read back in float32, written out again.

Weights are safetensors. Pickled ones (`pytorch_model.bin`) can run anything when they are opened, and are refused; whoever
allows them names the function that reads them, and they are kept as safetensors from then on. Code that lies in a folder is
never run.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import ModelUnreadable, PickledWeights, WeightsMissing
from trainwright.core.records import Adapter, ImportedModel
from trainwright.core.state import Weights
from trainwright.store.checkpoints import MODEL_FILE, render_tensors
from trainwright.store.objects import ObjectStore

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
GENERATION_FILE = "generation_config.json"
ADAPTER_CONFIG_FILE, ADAPTER_FILE = "adapter_config.json", "adapter_model.safetensors"

Tensors = dict[str, NDArray[np.float32]]
ReadPickled = Callable[[Path], Iterable[tuple[str, NDArray[np.float32]]]]

_SAFE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


def import_model(folder: Path, objects: ObjectStore, read_pickled: ReadPickled | None) -> ImportedModel:
    """Put configuration and weights of a folder into `objects`. `read_pickled` None: pickled weights are refused.

    Raises ModelUnreadable (no configuration, or one that asks for code or quantised weights), WeightsMissing,
    PickledWeights.
    """
    data, config = _read_config(folder)
    files = {CONFIG_FILE: objects.put(data)}
    if (folder / GENERATION_FILE).is_file():
        files[GENERATION_FILE] = objects.put((folder / GENERATION_FILE).read_bytes())
    paths = list_weight_files(folder)
    was_pickled = not paths
    if paths:
        for path in paths:
            _read_header(path)  # says what is wrong before anything is kept
            files[path.name] = objects.put_file(path)
    else:
        files[MODEL_FILE] = objects.put(render_tensors(_unpickle(folder, read_pickled)))
    return ImportedModel(
        name=folder.resolve().name,
        architecture=str(config["architectures"][0]),
        files=files,
        was_pickled=was_pickled,
    )


def list_weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder: the one file, or those that its index names. Raises WeightsMissing for a named one."""
    if (folder / MODEL_FILE).is_file():
        return [folder / MODEL_FILE]
    if not (folder / INDEX_FILE).is_file():
        return []
    try:
        names = sorted(set(json.loads((folder / INDEX_FILE).read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder, f"{INDEX_FILE} is no index: {error}.") from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsMissing(
                f"The model folder {folder} is not complete.",
                why=f"{INDEX_FILE} names {name}, which is not there.",
                next_step="Copy the whole folder again.",
            )
    return [folder / name for name in names]


def read_config(model: ImportedModel, objects: ObjectStore) -> dict[str, Any]:
    """The configuration of a model that was taken in."""
    config: dict[str, Any] = json.loads(objects.get(model.files[CONFIG_FILE]))
    return config


def locate_tensors(model: ImportedModel, objects: ObjectStore) -> list[Path]:
    """Where its weights lie, verified. Raises ObjectMissing, ObjectDamaged."""
    return [objects.open_local(digest) for name, digest in model.files.items() if name.endswith(".safetensors")]


def read_shapes(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """{name: shape} of every tensor, from the files' headers alone. Raises ModelUnreadable."""
    return {
        name: tuple(entry["shape"])
        for path in paths
        for name, entry in _read_header(path)[0].items()
        if name != "__metadata__"
    }


def read_tensors(paths: Iterable[Path], left_out: Iterable[str] = ()) -> Tensors:
    """Every tensor in float32 (bfloat16 and float16 widen exactly), but for those of the names that are left out."""
    skipped = frozenset(left_out)
    return {name: array for path in paths for name, array in _iter_tensors(path) if name not in skipped}


def _iter_tensors(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    header, start = _read_header(path)
    bytes_of_file = np.memmap(path, dtype=np.uint8, mode="r")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind = entry["dtype"]
        if kind not in _SAFE:
            raise _unreadable(path, f"The tensor {name} has the type {kind}; weights are F32, F16, BF16 or F64.")
        first, last = entry["data_offsets"]
        stored = bytes_of_file[start + first : start + last].view(_SAFE[kind])
        if kind == "BF16":  # the upper half of a float32
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        yield name, np.array(stored, dtype=np.float32).reshape(entry["shape"])


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors header, and where the data begins: 8 bytes of length, then JSON."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("it is shorter than it says")
            header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        if path.stat().st_size != 8 + length + end:
            raise ValueError("it is shorter or longer than it says")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"It is not safetensors: {error}.") from error
    return header, 8 + length


def _read_config(folder: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        data = (folder / CONFIG_FILE).read_bytes()
        config = json.loads(data)
    except FileNotFoundError:
        raise _unreadable(folder, f"It has no {CONFIG_FILE}.") from None
    except ValueError as error:
        raise _unreadable(folder, f"{CONFIG_FILE} is not JSON: {error}.") from error
    architectures = config.get("architectures") if isinstance(config, dict) else None
    if not architectures or not str(architectures[0]).endswith("ForCausalLM") or "model_type" not in config:
        raise _unreadable(folder, f"{CONFIG_FILE} does not describe a causal language model (…ForCausalLM).")
    if config.get("auto_map"):
        raise _unreadable(folder, "It brings code of its own (auto_map), and code from a folder is never run.")
    if config.get("quantization_config"):
        raise _unreadable(folder, "Its weights are quantised, and quantised weights are not trained.")
    return data, config


def _unpickle(folder: Path, read_pickled: ReadPickled | None) -> Tensors:
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    if not pickled:
        raise WeightsMissing(
            f"The model folder {folder} has no weights.",
            why=f"There is neither {MODEL_FILE} nor {INDEX_FILE}.",
            next_step="Copy the whole folder, with its safetensors.",
        )
    if read_pickled is None:
        raise PickledWeights(
            f"The weights in {folder} are pickled.",
            why=f"{pickled[0].name} can run anything when it is opened.",
            next_step="Use the folder's safetensors; or, if you trust where it comes from: train.allow_pickle=true",
        )
    try:
        return {name: array for path in pickled for name, array in read_pickled(path)}
    except ValueError as error:
        raise _unreadable(folder, f"{error}.") from error


def _unreadable(path: Path, why: str) -> ModelUnreadable:
    return ModelUnreadable(
        f"The model in {path} cannot be used.",
        why=why,
        next_step="Name a folder with config.json, safetensors and tokenizer.json, as `save_pretrained` writes it.",
    )


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_model_files(config: Mapping[str, Any], weights: Weights) -> dict[str, bytes]:
    """Configuration and weights. The weights are float32, and the configuration says so."""
    widened = {**config, "dtype": "float32", "torch_dtype": "float32"}
    return {CONFIG_FILE: _render_json(widened), MODEL_FILE: render_tensors(weights)}


def render_adapter_files(adapter: Adapter, weights: Weights, base_name: str) -> dict[str, bytes]:
    """An adapter as `peft` opens it, beside the model it was trained for."""
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": list(adapter.target_modules),
        "bias": "none",
        "inference_mode": True,
    }
    named = {f"base_model.model.{name}": array for name, array in weights.items()}
    return {ADAPTER_CONFIG_FILE: _render_json(document), ADAPTER_FILE: render_tensors(named)}


def merge_adapter(base: Weights, trained: Weights, adapter: Adapter) -> Tensors:
    """The model with its adapter worked in: W + alpha/rank · B A, in float32."""
    merged = {name: np.array(array) for name, array in base.items()}
    for name, a in trained.items():
        if name.endswith(".lora_A.weight"):
            stem = name.removesuffix(".lora_A.weight")
            b = trained[f"{stem}.lora_B.weight"]
            merged[f"{stem}.weight"] += np.float32(adapter.alpha / adapter.rank) * (b @ a)
    return merged


def _render_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
