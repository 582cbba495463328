"""How much each key matters for being among the best, as far as the trials tell, and how sure that is.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, IJCAI, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces"). With p the density of a key's values among all trials and q that among the best share γ of them, a key's
importance is γ² · Σ p (q/p − 1)², and the keys' shares of the sum are what is shown. Both densities are estimated on at most
50 cells. It says nothing of trials that failed or were pruned, and what only matters together with another key may show at
neither of the two.
"""

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.core.hashing import canonical_json
from trainwright.core.records import Dimension, Estimate, Frozen, Sweep
from trainwright.core.seeds import build_generator
from trainwright.evaluate.statistics import ALPHA
from trainwright.sweep.record import TrialState
from trainwright.sweep.sweep_file import list_grid_values

TOP_SHARE = 0.25
MIN_TRIALS = 20
"""Five of them are then among the best quarter: of fewer, a density says next to nothing."""

MAX_CELLS = 50
NUM_RESAMPLES = 200
METHOD = "PED-ANOVA, best quarter"

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class KeyImportance(Frozen):
    """One key's share, with its percentile interval over resampled trials.

    `p_value` is the chance of so large a share where the key's values have nothing to do with the objective: the part of
    the shuffles of the objective over the trials that give it as much (the observed order counted among them).
    """

    key: str
    share: Estimate
    p_value: float


class Importance(Frozen):
    """Of every key, the most important first; or why it was not measured."""

    method: str
    num_trials: int
    keys: tuple[KeyImportance, ...]
    why_not: str


def measure_importance(sweep: Sweep, states: Sequence[TrialState]) -> Importance:
    """What the completed trials tell about the keys."""
    completed = [state for state in states if state.status == "completed"]
    values = [float(state.value or 0.0) for state in completed]
    why = ""
    if len(completed) < MIN_TRIALS:
        why = f"{len(completed)} completed trials are fewer than {MIN_TRIALS}"
    elif min(values) == max(values):
        why = "all trials have the same objective"
    if why:
        return Importance(method=METHOD, num_trials=len(completed), keys=(), why_not=why)
    sign = 1.0 if sweep.objective.direction == "minimize" else -1.0
    asked = {
        "space": [one.model_dump(mode="json") for one in sweep.space],
        "points": [[state.values[one.key] for one in sweep.space] for state in completed],
        "losses": [sign * value for value in values],
        "seed": sweep.seed,
    }
    return _measure(canonical_json(asked))


@lru_cache(maxsize=32)
def _measure(asked: bytes) -> Importance:
    """As `measure_importance`, of canonical JSON, which is all that it depends on: pages are looked at more than once."""
    document = json.loads(asked)
    space = [Dimension.model_validate(one) for one in document["space"]]
    columns = [Column(one, [point[place] for point in document["points"]]) for place, one in enumerate(space)]
    losses = np.array(document["losses"])
    everyone = np.arange(len(losses))
    observed = compute_shares(columns, losses, everyone)
    draw = build_generator(document["seed"], "importance")
    resampled = [
        compute_shares(columns, losses, draw.integers(len(losses), size=len(losses))) for _ in range(NUM_RESAMPLES)
    ]
    shuffled = [compute_shares(columns, draw.permutation(losses), everyone) for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(resampled, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    p_values = (1 + (np.array(shuffled) >= observed).sum(axis=0)) / (NUM_RESAMPLES + 1)
    keys = [
        KeyImportance(
            key=one.key,
            share=Estimate(
                value=float(observed[place]),
                low=float(low[place]),
                high=float(high[place]),
                n=len(losses),
                method="bootstrap",
            ),
            p_value=float(p_values[place]),
        )
        for place, one in enumerate(space)
    ]
    ranked = sorted(keys, key=lambda one: -(one.share.value or 0.0))
    return Importance(method=METHOD, num_trials=len(losses), keys=tuple(ranked), why_not="")


class Column:
    """The values of one key over the trials, as cells: a choice is a cell, a range has evenly spaced ones."""

    def __init__(self, dimension: Dimension, values: Sequence[Any]) -> None:
        self.has_order = dimension.kind != "categorical"
        if dimension.kind == "categorical":
            self.num_cells = len(dimension.values)
            self.cells: Places = np.array([dimension.values.index(value) for value in values], np.intp)
            return
        low, high = float(dimension.low or 0), float(dimension.high or 0)
        self.num_cells = _count_cells(dimension)
        scale = math.log if dimension.log else float
        width = (scale(high) - scale(low)) / (self.num_cells - 1)
        self.cells = np.array([math.floor((scale(value) - scale(low)) / width + 0.5) for value in values], np.intp)

    def estimate_density(self, chosen: Places) -> Floats:
        """The density over the cells of some of the trials, smoothed, so that no cell has none.

        Of a range: Gaussian kernels of Scott's width (Scott 1992, Multivariate Density Estimation), cut off at the ends, and
        one as wide as the range. Of choices: their frequencies, mixed with equal ones.
        """
        counts = np.bincount(self.cells[chosen], minlength=self.num_cells).astype(np.float64)
        used = np.flatnonzero(counts)
        weights = np.append(counts[used], 1.0) / (counts.sum() + 1.0)
        kernels = self._smooth_range(counts, used) if self.has_order else self._smooth_choices(used)
        density: Floats = weights @ kernels
        return density

    def _smooth_choices(self, used: Places) -> Floats:
        """[one kernel a used cell, and an even one; cells]"""
        kernels = np.full((len(used) + 1, self.num_cells), 1.0 / (len(used) + 1))
        kernels[np.arange(len(used)), used] += 1.0
        even: Floats = kernels / kernels.sum(axis=1, keepdims=True)
        return even

    def _smooth_range(self, counts: Floats, used: Places) -> Floats:
        """[one kernel a used cell, and a wide one; cells]"""
        from scipy.special import ndtr

        width = _find_width(counts, used)
        centres = np.append(used, (self.num_cells - 1) / 2)[:, None]
        widths = np.append(np.full(len(used), width), float(self.num_cells))[:, None]
        edges = ndtr((np.arange(self.num_cells + 1) - 0.5 - centres) / widths)
        masses: Floats = np.diff(edges, axis=1) / (edges[:, -1:] - edges[:, :1])
        return masses


def compute_shares(columns: Sequence[Column], losses: Floats, chosen: Places) -> Floats:
    """Each key's share of the sum of importances, over the trials at `chosen`; zeros where no key shows anything."""
    among = losses[chosen]
    num_top = max(2, math.ceil(TOP_SHARE * len(among)))
    top = chosen[among <= np.partition(among, num_top - 1)[num_top - 1]]
    found = np.array([_measure_divergence(column, top, chosen) for column in columns])
    total = found.sum()
    return found / total if total > 0 else found


def _measure_divergence(column: Column, top: Places, chosen: Places) -> float:
    """Pearson's divergence of the best trials' density from that of all; γ² is the same for every key, and falls out."""
    best, everyone = column.estimate_density(top), column.estimate_density(chosen)
    return float(np.dot(everyone, (best / everyone - 1) ** 2))


def _count_cells(dimension: Dimension) -> int:
    if dimension.step is not None:
        return min(len(list_grid_values(dimension)), MAX_CELLS)
    if dimension.kind == "float":
        return MAX_CELLS
    size = int(dimension.high or 0) - int(dimension.low or 0) + 1
    return min(math.ceil(math.log2(size)) + 1 if dimension.log else size, MAX_CELLS)


def _find_width(counts: Floats, used: Places) -> float:
    """Scott's rule, on the smaller of deviation and quartile range; never so narrow that a kernel is within half a cell."""
    n = float(counts.sum())
    mean = (used @ counts[used]) / n
    deviation = math.sqrt(((used - mean) ** 2 @ counts[used]) / max(1.0, n - 1))
    places = np.repeat(used, counts[used].astype(np.intp))
    quartiles = np.quantile(places, [0.25, 0.75], method="inverted_cdf")
    spread = min(deviation, float(quartiles[1] - quartiles[0]) / 1.34)
    return max(1.059 * spread * math.pow(n, -0.2), 0.5 / 1.64)
