"""The next trial's values: a pure function of the sweep and of what came of the trials before it, in their order.

A grid is walked through, the last key fastest. `random` and `tpe` are Optuna's samplers (Akiba et al. 2019, KDD), over a study
that is made anew for each proposal from what is on record, with a seed of the proposal's own; so nothing is lost with the
process. TPE (Bergstra et al. 2011, NeurIPS 24) draws the first ten trials at random.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trainwright.core.errors import PackageMissing
from trainwright.core.records import Dimension, Sweep
from trainwright.core.seeds import derive_seed
from trainwright.sweep.sweep_file import list_grid_values, place_on_steps


@dataclass(frozen=True)
class Ended:
    """What a sampler hears of a trial that ended. `validations` are {step: objective} of its first run."""

    values: Mapping[str, Any]
    status: Literal["completed", "failed", "pruned"]
    value: float | None
    validations: Mapping[int, float] = field(default_factory=dict)


def propose(sweep: Sweep, ended: Sequence[Ended]) -> dict[str, Any]:
    """Values for trial number len(ended) + 1: {key: value}. Raises PackageMissing where Optuna is needed and not there."""
    if sweep.sampler == "grid":
        grid = itertools.product(*(list_grid_values(one) for one in sweep.space))
        point = next(itertools.islice(grid, len(ended), None))
        return {one.key: value for one, value in zip(sweep.space, point, strict=True)}
    study = _build_study(sweep, ended)
    asked = study.ask({one.key: distribute(one) for one in sweep.space})
    return {one.key: read_drawn(one, asked.params[one.key]) for one in sweep.space}


def name_sampler(sweep: Sweep) -> str:
    """The sampler, with the version of what it is computed by. Raises PackageMissing."""
    return "grid" if sweep.sampler == "grid" else f"{sweep.sampler}, optuna {import_optuna().__version__}"


def import_optuna() -> Any:
    """Optuna, quiet. Raises PackageMissing."""
    try:
        import optuna
    except ImportError as error:
        raise PackageMissing(
            "Optuna is not installed.",
            why="The samplers random and tpe, and the importance of keys, are computed by it.",
            next_step="pip install 'trainwright[sweep]', or set sampler: grid",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def distribute(dimension: Dimension) -> Any:
    """The dimension as one of Optuna's distributions. Values are drawn by their place, for they may be anything."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind == "categorical":
        return CategoricalDistribution(range(len(dimension.values)))
    if dimension.step is not None:  # drawn by its place too, so that no rounding is added up
        return IntDistribution(0, len(list_grid_values(dimension)) - 1)
    low, high = dimension.low, dimension.high
    if dimension.kind == "int":
        return IntDistribution(int(low or 0), int(high or 0), log=dimension.log)
    return FloatDistribution(float(low or 0), float(high or 0), log=dimension.log)


def read_drawn(dimension: Dimension, drawn: Any) -> Any:
    """The value that a draw from `distribute` stands for."""
    if dimension.kind == "categorical":
        return dimension.values[drawn]
    return drawn if dimension.step is None else place_on_steps(dimension, drawn)


def place_drawn(dimension: Dimension, value: Any) -> Any:
    """The draw that stands for a value."""
    if dimension.kind == "categorical":
        return dimension.values.index(value)
    return value if dimension.step is None else list_grid_values(dimension).index(value)


def _build_study(sweep: Sweep, ended: Sequence[Ended]) -> Any:
    optuna = import_optuna()
    seed = derive_seed(sweep.seed, "proposal", len(ended) + 1) % 2**32  # what numpy's older generators take
    sampler = optuna.samplers.TPESampler(seed=seed) if sweep.sampler == "tpe" else optuna.samplers.RandomSampler(seed)
    study = optuna.create_study(sampler=sampler, direction=sweep.objective.direction)
    for trial in ended:
        study.add_trial(build_frozen(sweep.space, trial))
    return study


def build_frozen(space: Sequence[Dimension], trial: Ended) -> Any:
    """A trial that ended, as Optuna knows it."""
    import optuna

    states = optuna.trial.TrialState
    state = {"completed": states.COMPLETE, "failed": states.FAIL, "pruned": states.PRUNED}[trial.status]
    return optuna.trial.create_trial(
        state=state,
        value=trial.value if state == states.COMPLETE else None,
        params={one.key: place_drawn(one, trial.values[one.key]) for one in space},
        distributions={one.key: distribute(one) for one in space},
        intermediate_values=dict(trial.validations),
    )
