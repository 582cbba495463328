"""The trials in order, with what their seeds tell about how sure that order is.

All trials are run with the same seeds, so two of them are compared seed by seed: the mean of the paired differences with its
Student-t interval, tested by the paired t test, adjusted by Holm's method for looking at all trials.
"""

from collections.abc import Sequence

from trainwright.core.records import Estimate, Frozen, PairedTest, Sweep
from trainwright.evaluate.statistics import ALPHA, adjust_holm, check_paired_t, estimate_mean
from trainwright.sweep.record import TrialState


class Rank(Frozen):
    """One trial in the ranking. Of what was not completed there is no place and no figure.

    `figure` is the mean over the seeds. `difference` is this trial minus the first one, seed by seed, with its `test`; the
    first one has none.
    """

    number: int
    place: int | None
    figure: Estimate | None
    difference: Estimate | None
    test: PairedTest | None
    p_adjusted: float | None


class Confirmation(Frozen):
    """A trial run again with fresh seeds: their mean, and what had been found when it was chosen."""

    number: int
    chosen_by: float
    figure: Estimate
    num_failed: int


def rank_trials(sweep: Sweep, states: Sequence[TrialState]) -> list[Rank]:
    """Completed trials, the best first (of equals the earlier one), then all others by number."""
    completed = [state for state in states if state.status == "completed"]
    sign = 1.0 if sweep.objective.direction == "minimize" else -1.0
    completed.sort(key=lambda state: (sign * (state.value or 0.0), state.number))
    others = [state for state in states if state.status != "completed"]
    best = _read_values(completed[0]) if completed else []
    differences = [
        [one - other for one, other in zip(_read_values(state), best, strict=True)] for state in completed[1:]
    ]
    tests = [check_paired_t(one) for one in differences]
    adjusted = iter(adjust_holm([test.p_value for test in tests if test.p_value is not None]))
    rows = [
        Rank(
            number=state.number,
            place=place,
            figure=estimate_seeds(_read_values(state)),
            difference=None if place == 1 else estimate_seeds(differences[place - 2]),
            test=None if place == 1 else tests[place - 2],
            p_adjusted=None if place == 1 or tests[place - 2].p_value is None else next(adjusted),
        )
        for place, state in enumerate(completed, start=1)
    ]
    missing = {"place": None, "figure": None, "difference": None, "test": None, "p_adjusted": None}
    return rows + [Rank(number=state.number, **missing) for state in others]


def estimate_seeds(values: Sequence[float]) -> Estimate:
    """The mean over seeds with its interval; one seed has none."""
    found = estimate_mean(values)
    return found if found.n != 1 else found.model_copy(update={"why_not": "one seed has no spread"})


def find_confirmations(states: Sequence[TrialState]) -> list[Confirmation]:
    """Trials that were run with fresh seeds."""
    found = []
    for state in states:
        outcomes = [run.outcome for run in state.confirming if run.outcome is not None]
        values = [one.value for one in outcomes if one.status == "completed" and one.value is not None]
        if outcomes and state.value is not None:
            figure = estimate_seeds(values)
            failed = len(outcomes) - len(values)
            found.append(Confirmation(number=state.number, chosen_by=state.value, figure=figure, num_failed=failed))
    return found


def list_notes(sweep: Sweep, states: Sequence[TrialState], ranks: Sequence[Rank]) -> list[str]:
    """What has to be known to read the ranking rightly."""
    placed = [rank for rank in ranks if rank.place is not None]
    metric, notes = sweep.objective.metric.replace("_", " "), []
    if len(placed) > 1:
        was_confirmed = any(state.confirming for state in states if state.number == placed[0].number)
        again = f"trainwright sweep confirm {sweep.id[:12]} does that with fresh seeds"
        notes.append(
            f"The first of {len(placed)} was chosen by the very {metric} that is shown, so it is likely to be worse when it is "
            f"run again{': what fresh seeds gave is the fairer figure' if was_confirmed else f'; {again}'}. The held-out text "
            "stays the same: what was chosen by it has fitted it a little."
        )
    if len(placed) > 1 and sweep.num_seeds == 1:
        notes.append(
            "Each trial was run with one seed. How far runs with other seeds lie apart was not measured, so it cannot be told "
            "whether trials that are close are really in this order; seeds: 3 in the sweep file measures it."
        )
    elif len(placed) > 1:
        alike = sum(rank.place != 1 and (rank.p_adjusted is None or rank.p_adjusted >= ALPHA) for rank in placed)
        if alike:
            notes.append(
                f"{alike} of the {len(placed) - 1} trials behind the first cannot be told apart from it by "
                f"{sweep.num_seeds} seeds."
            )
    num_failed = sum(state.status == "failed" for state in states)
    if num_failed:
        notes.append(
            f"{num_failed} of {len(states)} trials failed; they have no place, whatever their values were worth."
        )
    num_pruned = sum(state.status == "pruned" for state in states)
    if num_pruned:
        notes.append(
            f"{num_pruned} of {len(states)} trials were stopped early because they were behind; they have no place."
        )
    return notes


def _read_values(state: TrialState) -> list[float]:
    return [outcome.value for outcome in state.outcomes if outcome.value is not None]
