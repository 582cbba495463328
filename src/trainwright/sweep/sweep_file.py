"""The sweep file: what a person writes. YAML, strict about its keys.

manifest: stories.yaml               # or the keys of one, in line; what is not searched is as it says
search_space:
  train.optimizer.learning_rate: {low: 0.001, high: 0.03, log: true}
  train.batch_size: [8, 16, 32]
  model.layers: {low: 1, high: 4}
sampler: tpe
trials: 20
objective: {metric: bits_per_byte}
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainwright.core.errors import InvalidValue
from trainwright.core.manifest import (
    LimitsSection,
    Manifest,
    Section,
    as_number,
    parse_manifest,
    read_document,
    require_manifest_key,
)
from trainwright.core.records import Dimension, Number, Objective, Pruning
from trainwright.pipeline.run import name_of
from trainwright.watch.settings_file import read_settings

MAX_NAME = 56
"""A trial's run is named after its sweep and its number, and a run's name has at most 64 letters."""

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {
    "bits_per_byte": "minimize",
    "val_loss": "minimize",
    "perplexity": "minimize",
    "accuracy": "maximize",
}
"""What trials can be ranked by: the figures of a report that are a function of the plan, and that each validation has too."""

PER_TOKEN = frozenset({"val_loss", "perplexity", "accuracy"})
"""What counts tokens, and so means something else with another tokenizer."""

NOT_SEARCHED = {
    "data": "All trials learn from the same text and have the same held-out part; else no figure could be compared.",
    "seed": "The best of several seeds is luck. `seeds: N` runs each trial with N of them, and ranks by their mean.",
    "name": "Trials are named after the sweep, and numbered.",
    "finetune": "A trial is one run.",
    "watch": "It changes no number of a run.",
    "costs": "It changes no number of a run; what the sweep may spend is said by `limits`.",
    "budgets": "It changes no number of a run.",
    "evaluate": "It changes no number of a run.",
}


class DimensionSection(Section):
    """What a key may be: one of `values`, or from `low` to `high`; whole numbers where both ends are."""

    values: tuple[Any, ...] = ()
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None

    @field_validator("low", "high", "step", mode="before")
    @classmethod
    def _read_number(cls, value: Any) -> Any:
        return as_number(value)

    @field_validator("values")
    @classmethod
    def _read_values(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(as_number(value) for value in values)

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.values:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("it has `values`, or `low` and `high`, but not both")
            if any(value in self.values[:place] for place, value in enumerate(self.values)):
                raise ValueError("it names a value twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("it needs `values`, or `low` and `high`")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError("`log` needs a `low` above 0")
        if self.step is not None:
            self._require_whole_steps()
        return self

    def _require_whole_steps(self) -> None:
        assert self.low is not None
        assert self.high is not None
        assert self.step is not None
        if self.log:
            raise ValueError("`log` and `step` exclude each other")
        if self.step <= 0:
            raise ValueError("`step` must be more than 0")
        if (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step)):
            raise ValueError(f"high ({self.high:g}) is not low and a whole number of steps of {self.step:g}")

    def build(self, key: str) -> Dimension:
        """The dimension of that key."""
        if self.values:
            return Dimension(key=key, kind="categorical", values=self.values)
        is_int = all(isinstance(end, int) for end in (self.low, self.high, self.step or 0))
        return Dimension(
            key=key, kind="int" if is_int else "float", low=self.low, high=self.high, log=self.log, step=self.step
        )


class ObjectiveSection(Section):
    """What trials are ranked by. Without a `direction`, the metric's own."""

    metric: Literal["bits_per_byte", "val_loss", "perplexity", "accuracy"] = "bits_per_byte"
    direction: Literal["minimize", "maximize"] | None = None


class PruningSection(Section):
    """When a run is stopped because it is behind; see `Pruning` in core/records/sweeps.py."""

    rule: Literal["median", "asha"] = "median"
    startup_trials: Annotated[int, Field(ge=1)] = 4
    warmup_steps: Annotated[int, Field(ge=1)] = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class SweepFile(Section):
    """The whole file. `limits` is what the sweep's runs may spend together."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,55}$")] | None = None
    manifest: Annotated[str, Field(min_length=1)] | dict[str, Any] = Field(default_factory=dict)
    search_space: dict[str, DimensionSection] = Field(default_factory=dict)
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    objective: ObjectiveSection = ObjectiveSection()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    pruning: PruningSection | None = None
    limits: LimitsSection = LimitsSection()

    @field_validator("search_space", mode="before")
    @classmethod
    def _read_lists(cls, space: Any) -> Any:
        if not isinstance(space, Mapping):
            return space
        return {str(key): {"values": value} if isinstance(value, list) else value for key, value in space.items()}


class Search(Section):
    """A sweep file, read: everything of a Sweep but the dataset. `base` is the manifest of the values that are not searched."""

    name: str
    document: dict[str, Any]
    overrides: tuple[str, ...]
    base: Manifest
    space: tuple[Dimension, ...]
    sampler: Literal["grid", "random", "tpe"]
    num_trials: int
    num_seeds: int
    objective: Objective
    pruning: Pruning | None
    seed: int
    limits: LimitsSection


def read_sweep_file(path: Path, overrides: Sequence[str] = ()) -> Search:
    """The search that a file asks for; `overrides` ("key=value") are of its manifest, whose own path begins at the file.

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue, OutOfRange.
    """
    file = read_settings(path, SweepFile, "sweep file")
    document = file.manifest if isinstance(file.manifest, dict) else read_document(path.parent / file.manifest)
    base = parse_manifest(None, overrides, document)
    _require_one_run(base)
    metric = file.objective.metric
    for key in file.search_space:
        require_searchable(key, metric)
    space = tuple(section.build(key) for key, section in file.search_space.items())
    if not space:
        raise InvalidValue(
            f"The sweep file {path} searches nothing.",
            why="search_space names no key of the manifest.",
            next_step="For example: search_space: {train.batch_size: [8, 16, 32]}",
        )
    return Search(
        name=(file.name or base.name or name_of(path.name))[:MAX_NAME],
        document=document,
        overrides=tuple(overrides),
        base=base,
        space=space,
        sampler=file.sampler,
        num_trials=_count_trials(file, space),
        num_seeds=file.seeds,
        objective=Objective(metric=metric, direction=file.objective.direction or DIRECTIONS[metric]),
        pruning=None if file.pruning is None else Pruning(**dict(file.pruning)),
        seed=file.seed,
        limits=file.limits,
    )


def require_searchable(key: str, metric: str) -> None:
    """Raises UnknownKey for what is no key of the manifest, InvalidValue for one that cannot be varied between trials."""
    section = key.partition(".")[0]
    if why := NOT_SEARCHED.get(section):
        raise InvalidValue(f"{key} cannot be searched.", why=why, next_step=f"Leave {key} out of search_space.")
    require_manifest_key(key)
    if section == "tokenizer" and metric in PER_TOKEN:
        raise InvalidValue(
            f"{key} cannot be searched by {metric}.",
            why=f"With another tokenizer {metric} counts other tokens.",
            next_step="Set objective: {metric: bits_per_byte}, or leave the key out of search_space.",
        )


def _require_one_run(base: Manifest) -> None:
    if base.finetune is not None:
        raise InvalidValue(
            "The manifest of a sweep has a section finetune.",
            why=NOT_SEARCHED["finetune"],
            next_step="Search the first run alone; then, with train.start, the fine-tuning.",
        )
    if base.costs.limits != LimitsSection():
        raise InvalidValue(
            "The manifest of a sweep sets costs.limits.",
            why="A sweep shares out what it may spend among its runs itself.",
            next_step="Say it in the sweep file: limits: {hours: 2}",
        )


def _count_trials(file: SweepFile, space: Sequence[Dimension]) -> int:
    if file.sampler != "grid":
        if file.trials is None:
            raise InvalidValue(
                "The sweep file does not say how many trials.",
                why=f"The sampler {file.sampler} proposes as many as it is asked for.",
                next_step="Set trials, or sampler: grid.",
            )
        return file.trials
    size = prod(len(list_grid_values(one)) for one in space)
    if file.trials not in (None, size):
        raise InvalidValue(
            f"The sweep file asks for {file.trials} trials of a grid that has {size} points.",
            why="A grid is tried as a whole.",
            next_step="Leave trials out, or set sampler: random.",
        )
    return size


def list_grid_values(dimension: Dimension) -> list[Any]:
    """The values of a key in a grid, in order. Raises InvalidValue where a range has no even steps."""
    if dimension.kind == "categorical":
        return list(dimension.values)
    step = dimension.step or (1 if dimension.kind == "int" else None)
    if step is None or dimension.log:
        raise InvalidValue(
            f"{dimension.key} cannot be put on a grid.",
            why="A range on a logarithm, or of numbers that are not whole, has no even steps.",
            next_step="Name its values, give a step, or set sampler: random.",
        )
    low, high, width = (Decimal(str(one)) for one in (dimension.low, dimension.high, step))
    return [place_on_steps(dimension, number) for number in range(int((high - low) / width) + 1)]


def place_on_steps(dimension: Dimension, number: int) -> Number:
    """`low` and `number` steps, as a person would write it: 0.3 and not 0.30000000000000004."""
    step = dimension.step or 1
    exact = Decimal(str(dimension.low)) + number * Decimal(str(step))
    return int(exact) if dimension.kind == "int" else float(exact)
