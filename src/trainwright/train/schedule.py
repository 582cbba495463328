"""Learning-rate curves: each a pure function of the step, as a factor of the peak.

Steps are counted from 0 to N-1. All curves share one shape: a warm-up of W steps in which step i has the factor (i+1)/W,
a peak that step k = max(W-1, 0) reaches exactly, and, but for constant and step, a fall towards the floor that would be
reached at step N, one past the last: so no step is spent at a rate of zero. After the warm-up no factor is below the floor.
A warm-up longer than the run only ever climbs.
"""

import math

from trainwright.core.records import Schedule


def learning_rate_factor(schedule: Schedule, step: int, num_steps: int) -> float:
    """The factor in [0, 1] by which every peak rate is multiplied at `step` (0-based) of a run of `num_steps`.

    With p the share of the fall that is behind (0 at the peak, 1 at step N) these are mapped onto [floor, 1]:
    linear 1-p · cosine (1+cos πp)/2 (Loshchilov and Hutter 2017, arXiv:1608.03983) · warmup-stable-decay 1, then linear
    over the last D steps (Hu et al. 2024, arXiv:2404.06395). constant is 1, and step max(floor, f^⌊(i-k)/every⌋).
    """
    num_warmup = schedule.num_warmup_steps
    if step < num_warmup:
        return (step + 1) / num_warmup
    peak_step = max(num_warmup - 1, 0)
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "step":
        num_drops = (step - peak_step) // schedule.step_every if schedule.step_every else 0
        return max(schedule.floor, schedule.step_factor**num_drops)
    if schedule.name == "warmup-stable-decay":
        peak_step = max(peak_step, num_steps - schedule.num_decay_steps - 1)
    progress = min(max((step - peak_step) / max(num_steps - peak_step, 1), 0.0), 1.0)
    remaining = 0.5 * (1.0 + math.cos(math.pi * progress)) if schedule.name == "cosine" else 1.0 - progress
    return schedule.floor + (1.0 - schedule.floor) * remaining
