"""Learning-rate schedules: pure functions from the step to a factor of the learning rate, for ``LambdaLR``.

Each takes the run's ``total_steps`` and ``steps_per_epoch`` and, after them, what its YAML holds. Steps count from 0;
from ``total_steps`` on the factor stays at its end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Factor = Callable[[int], float]


def warmup_cosine(total_steps: int, steps_per_epoch: int, warmup_epochs: float, final_factor: float) -> Factor:
    """Return a linear warm-up from 0, then half a cosine from 1 to ``final_factor``.

    With w warm-up steps: ``step / w`` below w, then ``f + (1 - f) (1 + cos(pi (step - w) / (total_steps - w))) / 2``
    (Loshchilov and Hutter, arXiv 1608.03983, equation 5; warm-up as in SimCLR's released
    ``WarmUpAndCosineDecay``).

    Args:
        total_steps: of the run, 1 or more.
        steps_per_epoch: 1 or more.
        warmup_epochs: 0 or more, shorter than the run.
        final_factor: in [0, 1].

    Raises:
        ValueError: any of these out of range.
    """
    _check_steps(total_steps, steps_per_epoch)
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"warmup_epochs={warmup_epochs}: expected 0 or more, and fewer than the run's epochs.")
    if not 0 <= final_factor <= 1:
        raise ValueError(f"final_factor={final_factor}: expected a number in [0, 1].")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2

    return factor


def peak_step(factor: Factor, total_steps: int) -> int:
    """Return the first step of a run with the highest factor: the end of the warm-up, or 0 without one.

    Args:
        factor: of the schedule.
        total_steps: of the run, 1 or more.
    """
    return max(range(total_steps), key=factor)


def multistep(total_steps: int, steps_per_epoch: int, milestones: Sequence[float], gamma: float) -> Factor:
    """Return ``gamma`` to the power of the number of milestones passed.

    Args:
        total_steps: of the run, 1 or more.
        steps_per_epoch: 1 or more; each milestone is moved to the nearest start of an epoch.
        milestones: fractions of the run in (0, 1), in increasing order.
        gamma: in (0, 1].

    Raises:
        ValueError: any of these out of range.
    """
    _check_steps(total_steps, steps_per_epoch)
    if list(milestones) != sorted(milestones) or not all(0 < milestone < 1 for milestone in milestones):
        raise ValueError(f"milestones={list(milestones)}: expected fractions in (0, 1) in increasing order.")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma={gamma}: expected a number in (0, 1].")
    epochs = total_steps / steps_per_epoch
    starts = [round(milestone * epochs) * steps_per_epoch for milestone in milestones]

    def factor(step: int) -> float:
        return float(gamma ** bisect_right(starts, step))

    return factor


def constant(total_steps: int, steps_per_epoch: int) -> Factor:
    """Return 1 for every step."""
    _check_steps(total_steps, steps_per_epoch)
    return lambda step: 1.0


def _check_steps(total_steps: int, steps_per_epoch: int) -> None:
    if total_steps < 1 or steps_per_epoch < 1:
        raise ValueError(f"total_steps={total_steps}, steps_per_epoch={steps_per_epoch}: expected integers >= 1.")
