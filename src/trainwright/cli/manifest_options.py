"""The short flags for common manifest keys, shared by `run` and `plan`. Their ranges are the manifest's own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trainwright.core.errors import InvalidValue
from trainwright.core.manifest import LENGTH_KEYS, Manifest, parse_manifest


def _flag(name: str, text: str, metavar: str) -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


ManifestPath = Annotated[
    str | None,
    typer.Argument(help="A manifest (YAML); without one, the defaults.", metavar="[MANIFEST]", show_default=False),
]
Corpus = Annotated[
    str | None,
    _flag(
        "--corpus",
        "builtin:stories, builtin:python-docs, builtin:arithmetic; a file, folder, glob, URL or hf://…",
        "SOURCE",
    ),
]
Preset = Annotated[str | None, _flag("--preset", "quick, low-memory, balanced (default) or high.", "NAME")]
VocabSize = Annotated[int | None, _flag("--vocab-size", "Pieces in the tokenizer, 256–65535. Default: 4096.", "N")]
Epochs = Annotated[float | None, _flag("--epochs", "Passes over the training text, up to 1000.", "N")]
Steps = Annotated[int | None, _flag("--steps", "Updates, instead of epochs.", "N")]
TimeBudget = Annotated[
    str | None, _flag("--time-budget", "Training time, instead of epochs: 90, 90s, 5m or 1h.", "TIME")
]
BatchSize = Annotated[int | None, _flag("--batch-size", "Windows in one update, 1–4096. Default: 32.", "N")]
LearningRate = Annotated[
    float | None, _flag("--learning-rate", "Peak learning rate, 1e-6–1. Default: by preset.", "RATE")
]
MaxSeqLength = Annotated[int | None, _flag("--max-seq-length", "Tokens in one window, 32–8192. Default: 128.", "N")]
Seed = Annotated[int | None, _flag("--seed", "Everything random follows from it. Default: 1337.", "N")]
Framework = Annotated[
    str | None, _flag("--framework", "auto, torch, tunix, tinygrad or reference. Default: auto.", "NAME")
]

_KEYS = {
    "corpus": "data.corpus",
    "preset": "preset",
    "vocab_size": "tokenizer.vocab_size",
    "epochs": "train.epochs",
    "steps": "train.steps",
    "time_budget_s": "train.time_budget_s",
    "batch_size": "train.batch_size",
    "learning_rate": "train.optimizer.learning_rate",
    "max_seq_length": "train.max_seq_length",
    "seed": "seed",
    "framework": "compute.framework",
}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def read_manifest(
    manifest: str | None, overrides: list[str] | None, *, time_budget: str | None, **flags: Any
) -> Manifest:
    """The manifest from its file, the flags that were given, and the dotted overrides.

    A first argument that holds "=" is an override: `trainwright run train.steps=20` needs no file.
    """
    given = list(overrides or [])
    if manifest is not None and "=" in manifest:
        given.insert(0, manifest)
        manifest = None
    values = {name: value for name, value in flags.items() if value is not None}
    if time_budget is not None:
        values["time_budget_s"] = parse_duration(time_budget)
    settings = {_KEYS[name]: value for name, value in values.items()}
    # A length given as a flag replaces the one in the file, whichever of the three that was.
    if any(name in values for name in LENGTH_KEYS):
        settings = {**{f"train.{key}": None for key in LENGTH_KEYS}, **settings}
    return parse_manifest(None if manifest is None else Path(manifest), given, settings)


def parse_duration(text: str) -> float:
    """Seconds from "90", "90s", "5m" or "1.5h". Raises InvalidValue."""
    unit = text[-1:].lower()
    number = text[:-1] if unit in _SECONDS else text
    try:
        return float(number) * _SECONDS.get(unit, 1)
    except ValueError:
        raise InvalidValue(
            f"--time-budget is {text!r}.",
            why="It is a number of seconds, or a number with s, m or h.",
            next_step="For example: --time-budget 5m",
        ) from None
