"""Labels that a method saves: with how many labels another method reaches the same score.

Shape letters: E encoders, S label seeds, N test images. The axes of all tables are those of `crossed`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from simclr_med.metrics.crossed import Estimate, estimate_difference
from simclr_med.metrics.intervals import LEVEL

POINTS = 16  # of a segment between two budgets where the curve is compared with the score


@dataclass(frozen=True)
class EqualLabels:
    """The number of labels with which a curve reaches a score.

    Attributes:
        labels: where the curve first reaches the score; infinite where it does not, up to its largest budget.
        low, high: of the confidence set; 0 where the set has the curve's smallest budget, infinite where it has its
            largest one or where the score is better than the whole curve.
    """

    labels: float
    low: float
    high: float


def find_equal_labels(
    method_ESN: np.ndarray,
    curve: Sequence[tuple[float, np.ndarray]],
    is_paired: bool = False,
    share: float = 0.0,
    level: float = LEVEL,
) -> EqualLabels:
    """Return with how many labels a curve has the score of a method.

    Between two budgets the curve is linear over the logarithm of the labels, image by image. The confidence set has
    every number of labels at which the difference of both is not significant (the inversion of a test: Fieller 1954),
    so that its uncertainty is that of the verdicts. Its ends are those of the whole set.

    Args:
        method_ESN: values of the method under one label budget.
        curve: (labels, values [E, S, N]) of the other method, in increasing order; the same seeds and test images.
        is_paired, share: as in `crossed.estimate_difference`.
        level: of the confidence set.

    Raises:
        ValueError: there are fewer than two budgets, or the encoders of two budgets differ in number.
    """
    if len(curve) < 2 or len({len(values_ESN) for _, values_ESN in curve}) > 1:
        raise ValueError("expected two budgets or more with the same encoders")
    segments = list(itertools.pairwise(curve))

    def estimate(position: float) -> Estimate:
        """Return the difference at a position on the curve: the number of a segment plus a part of it in [0, 1]."""
        number = min(int(position), len(segments) - 1)
        (_, low_ESN), (_, high_ESN) = segments[number]
        weight = position - number
        return estimate_difference(method_ESN, (1 - weight) * low_ESN + weight * high_ESN, is_paired, share)

    def count_labels(position: float) -> float:
        number = min(int(position), len(segments) - 1)
        (lower, _), (upper, _) = segments[number]
        weight = position - number
        return float(lower ** (1 - weight) * upper**weight)

    positions = np.linspace(0, len(segments), (POINTS - 1) * len(segments) + 1)
    estimates = [estimate(position) for position in positions]
    labels, differences = [count_labels(position) for position in positions], [found.mean for found in estimates]
    accepted = [found.p_value() >= 1 - level for found in estimates]
    point = _find_first_crossing(labels, differences)
    if not any(accepted):  # a set narrower than the distance of two points, or a score outside the curve
        reached = labels[0] if differences[0] <= 0 else labels[-1] if point == np.inf else point
        return EqualLabels(point, 0.0 if differences[0] <= 0 else reached, np.inf if point == np.inf else reached)
    is_open_below, is_open_above = accepted[0] or differences[0] <= 0, accepted[-1] or point == np.inf

    def find_end(inner: int, outer: int) -> float:
        """Return the labels between an accepted and a rejected point at which the test has its level."""
        ends = sorted((positions[inner], positions[outer]))
        return count_labels(brentq(lambda position: estimate(position).p_value() - (1 - level), *ends, xtol=1e-3))

    first, last = accepted.index(True), len(accepted) - 1 - accepted[::-1].index(True)
    low = 0.0 if is_open_below else find_end(first, first - 1)
    return EqualLabels(point, low, np.inf if is_open_above else find_end(last, last + 1))


def _find_first_crossing(labels: Sequence[float], differences: Sequence[float]) -> float:
    """Return where the difference first is not positive, linear in the logarithm between two points."""
    if differences[0] <= 0:
        return labels[0]
    for number in range(1, len(labels)):
        before, after = differences[number - 1], differences[number]
        if after <= 0:
            weight = before / (before - after)
            return float(labels[number - 1] ** (1 - weight) * labels[number] ** weight)
    return np.inf
