"""Write docs/manifest.md, errors.md, commands.md, rest.md and openapi.json from the code they describe.

    python scripts/write_reference.py          write the pages
    python scripts/write_reference.py --check  say which of them are stale; exit 1 if any is

What a key, an error or a command *is* comes from the code alone. What a manifest key *means* is written down here, in
`MEANINGS`, and building the page fails where a key has no meaning, or a meaning no key.
"""

import argparse
import importlib
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer

from trainwright.cli.main import VERBS
from trainwright.core.errors import TrainwrightError, iter_error_classes
from trainwright.core.manifest import Manifest, Section, schema_of_keys
from trainwright.core.presets import PRESETS

DOCS = Path(__file__).resolve().parent.parent / "docs"

GENERATED = "<!-- Written by scripts/write_reference.py from the code. Change the code, then run it again. -->"

MEANINGS: dict[str, str] = {
    "name": "What refs are made from (`name@latest`), and the beginning of the run folder's name. "
    "`null`: the corpus's own name (`books/emma.txt` gives `emma`).",
    "preset": "The set of values that stands under everything else in the manifest; see Presets below.",
    "finetune": "A manifest inside the manifest: the run that comes after this one and starts from its model. `data` is its "
    "own; every other key that it leaves out is as above. `model`, `tokenizer`, `preset` and `train.start` stay out.",
    "seed": "Everything random follows from it: initial weights, order of the windows, dropout, samples.",
    "data.corpus": "`builtin:stories`, `builtin:python-docs` or `builtin:arithmetic`; a file, a folder or a glob; an "
    "`http://`, `https://` or `hf://` address. Plain text, `.jsonl`, `.parquet`, and `.gz` or `.zst` of the first two.",
    "data.traces": "What to learn to answer from: a version (`dev@v1`), a file that `traces import` reads, or "
    "`builtin:arithmetic`. `null`: the run learns from text.",
    "data.template": "How a trace becomes chat text: `gemma`, `chatml`, `trace`, or `tokenizer` (the template that the "
    "tokenizer carries). `auto`: the tokenizer's, or `gemma` where it carries none. "
    "What the assistant says, and the end of its turn, is what is learnt.",
    "data.system": "System text that leads every conversation that has none of its own.",
    "data.too_long": "What is done about a trace of more than `train.max_seq_length` + 1 tokens: it is left out and counted, "
    "or loses its beginning, or its end.",
    "data.validation": "A held-out source of its own, named like `data.corpus`; `data.split` then divides nothing.",
    "data.sha256": "The SHA-256 that the corpus file must have, as 64 lowercase hex digits. For a corpus of one file.",
    "data.text_field": "The field of a JSONL row, or the Parquet column, that holds the text.",
    "data.refresh": "Ask the server again, even for an address that was downloaded before.",
    "data.split.by": "`document` keeps every n-th document for validation, `block` every n-th block of lines. `auto` takes "
    "documents where the source has enough of them to hold out that share (at least ten), else blocks.",
    "data.split.validation_share": "The part that is held out: 0.1 is every tenth document or block.",
    "data.split.block_lines": "Lines in one block; fewer are taken where the text is too short to hold out a whole one.",
    "tokenizer.algorithm": "SentencePiece's unigram or byte-pair encoding, trained on the training split.",
    "tokenizer.vocab_size": "Pieces in the tokenizer. `auto`: 4096; fewer where the text does not hold so many, more where its "
    "script has more characters than fit.",
    "tokenizer.path": "A Hugging Face tokenizer folder to use, instead of training a tokenizer.",
    "model.hidden_size": "Width of the decoder: numbers per position.",
    "model.layers": "Decoder layers. `auto`: as many as fit into `model.max_parameters`.",
    "model.heads": "Query heads of the attention.",
    "model.kv_heads": "Key and value heads; must divide `model.heads`. `auto`: as many as `model.heads`.",
    "model.head_dim": "Numbers per head; even, because rotary positions turn pairs.",
    "model.intermediate_size": "Width inside the SwiGLU feed-forward block.",
    "model.max_parameters": "What `model.layers: auto` fills: weights at most, the embedding included.",
    "model.rope_theta": "Base of the rotary position frequencies.",
    "train.start": "A model to start from: `name@latest`, a run's id, `RUN@STEP` or a checkpoint's id; or a folder in the "
    "Hugging Face format. Its weights are taken, with its shape and its tokenizer; the optimizer is new and the steps count "
    "from 0. `null`: random weights.",
    "train.allow_pickle": "Take in a folder whose weights are pickled (`pytorch_model.bin`). Only for folders that you trust.",
    "train.adapter.rank": "Rank of a LoRA adapter. 0: none, all weights are trained.",
    "train.adapter.alpha": "What the adapter's product is multiplied with, over the rank.",
    "train.adapter.target_modules": "Linear maps that get an adapter, by the last part of their names.",
    "train.adapter.dropout": "The part of the adapter's input that is dropped while training.",
    "train.epochs": "Length of the run, in passes over the training split.",
    "train.steps": "Length of the run, in updates.",
    "train.time_budget_s": "Length of the run, in seconds of training on this machine. It becomes a number of steps, from a "
    "measurement, when the plan is made.",
    "train.batch_size": "Windows in one update.",
    "train.accumulation": "Micro-batches that one update is cut into, to save memory; must divide `train.batch_size`.",
    "train.max_seq_length": "Tokens in one window.",
    "train.label_smoothing": "The part of the target's probability that is spread over the whole vocabulary.",
    "train.dropout": "The part of the activations that is dropped while training. `auto`: none where the text is read up to "
    "five times, 0.1 up to ten times, 0.2 beyond; none where a run starts from a model.",
    "train.init_scale": "Standard deviation of the initial embedding.",
    "train.optimizer.name": "`adamw` for every weight, or `muon` for the matrices in the layers and AdamW for the rest.",
    "train.optimizer.learning_rate": "Peak rate of AdamW.",
    "train.optimizer.matrix_learning_rate": "Peak rate of Muon. `auto`: 5/2 of `learning_rate`.",
    "train.optimizer.beta1": "AdamW: decay of the mean of gradients.",
    "train.optimizer.beta2": "AdamW: decay of the mean of squared gradients.",
    "train.optimizer.epsilon": "AdamW: what is added to the denominator.",
    "train.optimizer.weight_decay": "AdamW: decoupled decay of matrices and the embedding; norms have none.",
    "train.optimizer.matrix_momentum": "Muon: momentum.",
    "train.optimizer.matrix_weight_decay": "Muon: decoupled weight decay.",
    "train.optimizer.clip_norm": "The gradient's norm is brought down to this. 0: no clipping.",
    "train.schedule.name": "Shape of the learning-rate curve after the warm-up.",
    "train.schedule.warmup_steps": "Steps of the linear warm-up. `auto`: a tenth of the run, at most 60.",
    "train.schedule.decay_share": "`warmup-stable-decay`: the part of all steps that is spent decaying.",
    "train.schedule.floor": "The smallest factor of the peak rate after the warm-up.",
    "train.schedule.step_every": "`step`: steps between two drops. 0: never.",
    "train.schedule.step_factor": "`step`: what the rate is multiplied by at each drop.",
    "train.early_stopping.metric": "What has to improve. It also decides which checkpoint is the best one.",
    "train.early_stopping.patience": "Stop after this many validations without a gain. 0: never stop early.",
    "train.early_stopping.min_delta": "A gain is an improvement by more than this.",
    "train.stability.enabled": "Whether the ladder is there at all.",
    "train.stability.outlier_sigmas": "A loss or gradient norm this many standard deviations above the mean of the "
    "remembered steps is skipped, once half a window is remembered. 0: only what is not finite is skipped.",
    "train.stability.window": "Steps that are remembered, and within which skips are counted.",
    "train.stability.max_skips": "Skips within a window that roll the run back to its last scheduled checkpoint.",
    "train.stability.rate_factor": "What a rollback multiplies every later rate by.",
    "train.stability.max_rollbacks": "The rollback after this many ends the run instead (`training-unstable`).",
    "train.ema_decay": "Decay of a moving average of the weights, which is then what is validated and kept; 0.999, say. "
    "0: no average.",
    "train.validate_every": "Steps between validations. `auto`: a quarter of the run, or an epoch where that is shorter.",
    "train.checkpoint_every": "Steps between checkpoints. `auto`: as `validate_every`. A new best is kept in any case.",
    "train.watch_every": "Steps between two looks at each weight's gradient and update. 0: never. `auto`: a hundred looks "
    "in a run, at most one in 25 steps.",
    "train.keep_last": "Newest checkpoints that are kept; the best one is kept besides.",
    "train.keep_every": "Besides, the checkpoint of every so many steps is kept for good. 0: none.",
    "train.sample_prompts": "What the model goes on from at each validation and in the report.",
    "train.sample_tokens": "Tokens in one sample, at most.",
    "evaluate.items": "How many held-out traces are asked; 0: none. Every one that there is, where there are fewer.",
    "evaluate.max_tokens": "Tokens in one answer, at most.",
    "compute.framework": "`torch`; `tinygrad` (float32, on a CPU for small models alone: it compiles a minute); `tunix` (JAX, "
    "float32; also Qwen3 and Gemma 3 in the Hugging Face format); `reference` (numpy, for very small models); "
    "`transformers`, for models in the Hugging Face format (our own decoder runs there too). "
    "A list is an order of preference: the first that works and can do what the plan asks; what was passed over is named. "
    "`auto`: the fastest of torch, tunix and tinygrad, as installed, or transformers where a run starts from such a folder.",
    "compute.device": "`cpu`, `cuda`, `cuda:1`, …. `auto`: the fastest on which a kernel really ran.",
    "compute.dtype": "Type of the arithmetic. `auto`: what was measured to be faster for a run of this length.",
    "compute.compile": "Whether the framework compiles the model. `auto`: where it was measured to be faster.",
    "compute.threads": "Threads of the arithmetic. `auto`: the cores this process may use. Results depend on it.",
    "budgets.latency_p95_ms": "Time for 32 tokens after a prompt, 95th percentile of 100 prompts (fewer, where "
    "they take more than half a minute), in milliseconds.",
    "budgets.inference_rss_mb": "Resident memory of a fresh process that uses the model (1 MB = 10⁶ bytes).",
    "budgets.model_file_mb": "Size of `model.safetensors`.",
    "budgets.training_peak_mb": "Memory that training takes beyond the framework's own.",
    "watch.trackers": "`tensorboard`, `wandb` and `mlflow`: each follows `events.jsonl` in a process of its own.",
    "watch.folder": "Where TensorBoard and W&B write: TensorBoard into a folder there that is named after the run. `null`: "
    "the run folder.",
    "watch.project": "The project (W&B) or experiment (MLflow) that runs are put into.",
    "watch.uri": "The server's address. `null`: for MLflow `MLFLOW_TRACKING_URI`, else `http://127.0.0.1:5000`; for W&B its "
    "own settings (it works offline unless `WANDB_MODE` says otherwise).",
    "watch.alerts": "A file of rules and channels for alerts about this run, or `default` for the rules that come along; a "
    "process of its own watches. `null`: nobody does, unless `trainwright alerts watch` is running.",
    "costs.project": "The project under which the run's costs are counted, and whose budget it shares. `null`: none.",
    "costs.tags": "Words under which the run's costs can be summed up.",
    "costs.prices": "A price file (YAML); what it says when the run is asked for is kept for this run. `null`: `prices.yaml` "
    "in the workspace, where there is one; else nothing is priced.",
    "costs.limits.money": "What the run may cost, in the price file's currency. At the limit it is saved, and stops with exit "
    "code 7.",
    "costs.limits.hours": "Hours that processes may work on the run, those of killed ones included.",
    "costs.limits.energy_kwh": "Energy that may be used meanwhile. Refused on a machine that does not tell it.",
    "costs.limits.tokens": "Tokens that may be learnt from, those of steps that were done again included.",
}


# ── manifest ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_manifest_page() -> str:
    """docs/manifest.md. Raises KeyError where a key has no meaning, or a meaning names no key."""
    keys = dict(iter_leaves(Manifest))
    if keys.keys() != MEANINGS.keys():
        raise KeyError(f"MEANINGS and the manifest differ in {sorted(keys.keys() ^ MEANINGS.keys())}")
    top = {key: schema for key, schema in keys.items() if "." not in key}
    parts = [
        "# The manifest",
        GENERATED,
        "What a person writes: a YAML file, and every key has a default. Layers, later ones winning: defaults, preset, "
        "file, flags, dotted overrides on the command line (`trainwright run train.batch_size=64`). A key that does not "
        "exist is refused with the nearest one that does (`unknown-key`); a number outside its range with the range "
        "(`out-of-range`). [Examples](../examples/) are complete files.",
        "A run has one length: `train.epochs`, `train.steps` or `train.time_budget_s`. The preset sets one, and setting "
        "another replaces it. `auto` is settled, from the data and by measuring this machine, when the plan is "
        "made; `trainwright plan` prints what it became. `null` means that there is none.",
        "## At the top",
        _render_keys(top),
        *_render_sections(Manifest, keys),
        "## Presets",
        "What each preset sets; every other key keeps its default. `balanced` is the default preset.",
        _render_presets(),
    ]
    return "\n\n".join(parts) + "\n"


def iter_leaves(section: type[Section], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted key, JSON schema) of every key that holds a value and no section, in order."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from iter_leaves(field.annotation, f"{prefix}{name}.")
        else:
            schema = schema_of_keys(section)[name]
            yield f"{prefix}{name}", schema | {"default": field.get_default()}


def _render_sections(section: type[Section], keys: Mapping[str, dict[str, Any]], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            continue
        inner = field.annotation
        dotted = f"{prefix}{name}"
        yield f"{'#' * (2 + dotted.count('.'))} `{dotted}`"
        yield _one_line(inspect.getdoc(inner) or "")
        own = {key: schema for key, schema in keys.items() if key.rpartition(".")[0] == dotted}
        yield _render_keys(own)
        yield from _render_sections(inner, keys, f"{dotted}.")


def _render_keys(keys: Mapping[str, dict[str, Any]]) -> str:
    rows = (
        (f"`{key}`", describe_type(schema), _as_yaml(schema["default"]), describe_range(schema), MEANINGS[key])
        for key, schema in keys.items()
    )
    return _render_table(("key", "type", "default", "range", "meaning"), rows)


def describe_type(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in words: "integer or `auto`"."""
    if "anyOf" in schema:
        options = [describe_type(option) for option in schema["anyOf"]]
        return " or ".join(sorted(options, key=lambda text: text.startswith("`")))  # plain types first
    if "$ref" in schema:
        return "section"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema["type"] == "array":
        return f"list of {describe_type(schema['items'])}"
    return {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}.get(
        str(schema["type"]), str(schema["type"])
    )


def describe_range(schema: Mapping[str, Any]) -> str:
    """The range of a number, or the pattern of a text, as a person writes it; empty where there is none."""
    for option in (schema, *schema.get("anyOf", ())):
        if "pattern" in option:
            return f"`{option['pattern']}`"
        low = option.get("minimum", option.get("exclusiveMinimum"))
        high = option.get("maximum", option.get("exclusiveMaximum"))
        if low is None and high is None:
            continue
        lower = "" if low is None else f"{'>' if 'exclusiveMinimum' in option else '≥'} {_as_number(low)}"
        upper = "" if high is None else f"{'<' if 'exclusiveMaximum' in option else '≤'} {_as_number(high)}"
        return ", ".join(filter(None, (lower, upper)))
    return ""


def _render_presets() -> str:
    flat = {name: dict(_flatten(values)) for name, values in PRESETS.items()}
    defaults = {key: schema["default"] for key, schema in iter_leaves(Manifest)}
    keys = [key for key in defaults if any(key in values for values in flat.values())]
    names = ["quick", "low-memory", "balanced", "high"]
    if set(names) != set(PRESETS):
        raise KeyError(f"the presets are {sorted(PRESETS)}")
    rows = []
    for key in keys:
        cells = [f"**{_as_yaml(flat[name][key])}**" if key in flat[name] else _as_yaml(defaults[key]) for name in names]
        rows.append((f"`{key}`", *cells))
    return _render_table(("key", *(f"`{name}`" for name in names)), rows)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────
EXIT_CODES = {
    0: "ok",
    1: "prerequisites: Python, disk, packages, device, memory, permission",
    2: "data",
    3: "tokenizer",
    4: "training",
    5: "validation or evaluation",
    6: "a gate refused, or a release may not move",
    7: "a limit on what may be spent is reached; the run goes on once it is raised",
    64: "usage",
    70: "a fault of Trainwright's",
    130: "interrupted, resumable",
}


def render_errors_page() -> str:
    """docs/errors.md. Raises KeyError where an error has an exit code without a meaning."""
    parts = [
        "# Errors",
        GENERATED,
        "Every way Trainwright says no. On standard error an error is its name, what happened, why, and what to do next:",
        "```text\nerror[unknown-key]: The manifest has no key lerning_rate.\n"
        "  why:  Did you mean train.optimizer.learning_rate?\n  next: Mend the key and run again.\n```",
        "With `--json` it is one document on standard output: "
        '`{"error": {"name", "message", "why", "next", "exit_code"}}`. Names and exit codes are stable: programs may match '
        "on them. The HTTP status is what a service answers for the same error.",
        "## Exit codes",
        _render_table(("code", "meaning"), ((str(code), meaning) for code, meaning in EXIT_CODES.items())),
        "A command whose output is cut off by its reader (`| head`) ends with 141.",
        "## Names",
        _render_table(
            ("name", "exit", "HTTP", "meaning", "kind of"), (_error_row(error) for error in _raised_errors())
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _raised_errors() -> Iterator[type[TrainwrightError]]:
    """Everything but the root, which is never raised."""
    return (error_class for error_class in iter_error_classes() if error_class is not TrainwrightError)


def _error_row(error_class: type[TrainwrightError]) -> tuple[str, ...]:
    if error_class.exit_code not in EXIT_CODES:
        raise KeyError(f"exit code {error_class.exit_code} of {error_class.name} has no meaning")
    parent = error_class.__mro__[1]
    kind = f"`{parent.name}`" if issubclass(parent, TrainwrightError) and parent is not TrainwrightError else ""
    meaning = _one_line(inspect.getdoc(error_class) or "")
    return (f"`{error_class.name}`", str(error_class.exit_code), str(error_class.http_status), meaning, kind)


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_commands_page() -> str:
    """docs/commands.md."""
    parts = [
        "# Commands",
        GENERATED,
        "What a person watches goes to standard error; results go to standard output. With `--json`, standard output is one "
        "JSON document ([files.md](files.md#what---json-prints)). Exit codes are on the page of [errors](errors.md). "
        "`trainwright --version` prints the version, `--help` works everywhere.",
        _render_table(("command", ""), ((f"[`{verb}`](#trainwright-{verb})", text) for verb, text in VERBS.items())),
    ]
    for verb in VERBS:
        command = open_command(verb)
        subcommands: Mapping[str, Any] = getattr(command, "commands", {})
        parts.append(f"## trainwright {verb}")
        if subcommands:
            parts.append(VERBS[verb])
            for name, subcommand in subcommands.items():
                parts += [f"### trainwright {verb} {name}", *_render_command(f"{verb} {name}", subcommand)]
        else:
            parts += _render_command(verb, command)
    return "\n\n".join(parts) + "\n"


def open_command(verb: str) -> Any:
    """The verb's command object (its class belongs to the copy of click that typer carries)."""
    return typer.main.get_command(importlib.import_module(f"trainwright.cli.{verb}").app)


def _render_command(path: str, command: Any) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    yield f"```text\ntrainwright {path} {' '.join([*map(_usage_of, arguments), '[OPTIONS]'])}\n```"
    yield _one_line(command.help)
    if arguments:
        yield _render_table(
            ("argument", "default", "meaning"),
            ((f"`{_usage_of(param)}`", *_split_default(param)) for param in arguments),
        )
    yield _render_table(
        ("option", "default", "meaning"),
        ((f"`{_option_usage(param)}`", *_split_default(param)) for param in options),
    )


def _usage_of(argument: Any) -> str:
    if argument.nargs == -1:
        return f"[{'key=value' if argument.name == 'overrides' else argument.name.upper()} …]"
    name = argument.name.upper()
    return name if argument.required else f"[{name}]"


def _option_usage(option: Any) -> str:
    if option.is_flag:
        return str(option.opts[0])
    return f"{option.opts[0]} {option.metavar or option.name.upper()}"


def _split_default(param: Any) -> tuple[str, str]:
    """(default, meaning): a default that is only known later is written in the help as "[default: …]"."""
    text, _, said = _one_line(param.help).partition("[default: ")
    if said:
        return said.removesuffix("]"), text.strip()
    if param.default is None or param.default is False or param.default == "" or callable(param.default):
        return "", text
    return f"`{param.default}`", text


# ── all pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
# ── rest.md, openapi.json ─────────────────────────────────────────────────────────────────────────────────────────────
@cache
def build_openapi() -> dict[str, Any]:
    """What the service says about itself, without its version: that changes with every release."""
    from trainwright.serve.app import create_app
    from trainwright.serve.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Path(folder) / "workspace", Settings(has_worker=False))
        document: dict[str, Any] = json.loads(json.dumps(app.openapi()))
        app.state.workspace.close()
    document["info"].pop("version")
    return document


def render_openapi() -> str:
    """The whole document: whoever changes an interface sees it change here."""
    return json.dumps(build_openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def render_rest_page() -> str:
    """docs/rest.md: every route."""
    parts = [
        "# REST",
        GENERATED,
        "`trainwright serve` answers these; [openapi.json](openapi.json) has every field, and so has `/openapi.json` of a "
        'running service. What is refused has one shape, `{"error": {name, message, why, next, exit_code}}`, and the status '
        "that [errors](errors.md) lists. A list is a page `{items, next}`: `?after=` with `next` gives the one after it. A "
        "`POST` that is sent again with the same `Idempotency-Key` is answered again, and not done again. See "
        "[the guide](guide.md#a-service) for tokens and roles.",
    ]
    by_tag: dict[str, list[tuple[str, ...]]] = {}
    for path, methods in build_openapi()["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).append(_route_row(method, path, operation))
    for tag, rows in by_tag.items():
        parts += [f"## {tag.capitalize()}", _render_table(("route", "asked with", "what it does"), rows)]
    return "\n\n".join(parts) + "\n"


def _route_row(method: str, path: str, operation: Mapping[str, Any]) -> tuple[str, ...]:
    asked = [f"`{one['name']}`" for one in operation.get("parameters", ()) if one["in"] == "query"]
    content = operation.get("requestBody", {}).get("content", {})
    for body in content.values():
        reference = body["schema"].get("$ref", "")
        fields = build_openapi()["components"]["schemas"].get(reference.rpartition("/")[2], {}).get("properties", {})
        asked.append("body: " + (", ".join(f"`{name}`" for name in fields) or "a JSON object"))
    return f"`{method.upper()} {path}`", "; ".join(asked), _one_line(operation.get("description", ""))


PAGES: dict[str, Callable[[], str]] = {
    "manifest.md": render_manifest_page,
    "errors.md": render_errors_page,
    "commands.md": render_commands_page,
    "rest.md": render_rest_page,
    "openapi.json": render_openapi,
}


def find_stale_pages(docs: Path = DOCS) -> list[str]:
    """Names of the pages whose file is not what would be written."""
    return [
        name
        for name, render in PAGES.items()
        if not (docs / name).is_file() or (docs / name).read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    stale = find_stale_pages()
    if parser.parse_args().check:
        for name in stale:
            print(f"docs/{name} is stale: run python scripts/write_reference.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/{name}")
    return 0


def _render_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _as_yaml(value: Any) -> str:
    """A value as it stands in a manifest (JSON is YAML), in code."""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{_as_number(value)}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


def _as_number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if value < 2**53 else "2⁶³"


if __name__ == "__main__":
    sys.exit(main())
