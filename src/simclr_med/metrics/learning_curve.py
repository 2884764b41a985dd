"""A learning curve as an inverse power law, and what more labels would buy.

Shape letters: B label budgets, E encoders, S label seeds, N test images, R draws.

The score after n labels is a - b (n / n0)^-c, with the ceiling a (Figueroa et al. 2012, doi 10.1186/1472-6947-12-8,
equation 1, whose x is n / n0; n0 is the geometric mean of the budgets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 200
LEAST_BUDGETS = 3  # as many as the law has parameters
# c of the equation. Below, the law is a logarithm of the labels; above, it is flat after the first budget.
_DECAYS_C = np.geomspace(0.01, 3.0, 800)
_CEILING = 1.0  # the largest a: of a score
_LARGEST_LOG = 600.0
_SMALLEST_ERROR = 1e-4  # of a budget's mean, so that no budget has all the weight


@dataclass(frozen=True)
class PowerLaw:
    """An inverse power law.

    Attributes:
        ceiling, drop, decay: a, b and c of the equation.
        unit: n0.
    """

    ceiling: float
    drop: float
    decay: float
    unit: float

    def predict(self, labels: float) -> float:
        """Return the score after so many labels."""
        return float(self.ceiling - self.drop * (labels / self.unit) ** -self.decay)

    def labels_for(self, score: float) -> float:
        """Return how many labels reach a score; infinite where the ceiling is not above it."""
        if score >= self.ceiling:
            return np.inf
        if self.drop <= 0:
            return 0.0
        # A slow decay needs more labels than a number can hold.
        return float(self.unit * np.exp(min(np.log(self.drop / (self.ceiling - score)) / self.decay, _LARGEST_LOG)))


def draw_means(tables: Sequence[np.ndarray], shares: Sequence[float], draws: int, seed: int) -> np.ndarray:
    """Return draws of the mean score of each budget, float64 [R, B], with the uncertainty of the measured means.

    Encoders, label seeds and test images are resampled with normal weights, the same for all budgets, so that the
    draws have the variances and the correlations of `crossed`. The weights of encoders and seeds are divided by the
    root of chi squared over its degrees of freedom: each term has Student's t.

    Args:
        tables: values [E, S, N] of each budget; E, S and N are equal.
        shares: of the pool in the label subsets of each budget, as in `crossed.seed_term`.
        draws: R.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    overlap_B = np.array([share / (1 - share) if share < 1 else 0.0 for share in shares])
    means_RB = np.tile([table.mean() for table in tables], (draws, 1))
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        levels_BL = np.array([table.mean(axis=others) for table in tables])
        count = levels_BL.shape[1]
        if count < 2:
            continue
        # Centred weights have the sample variance s² / count, which np.var would give without its ddof.
        weights_RL = generator.normal(size=(draws, count)) / np.sqrt(count * (count - 1))
        if axis < 2:
            weights_RL /= np.sqrt(generator.chisquare(count - 1, size=(draws, 1)) / (count - 1))
        factor_B = np.sqrt(1 + count * overlap_B) if axis == 1 else np.ones(len(tables))
        means_RB += weights_RL @ (levels_BL - levels_BL.mean(axis=1, keepdims=True)).T * factor_B
    return means_RB


def fit_power_law(labels_B: np.ndarray, means_B: np.ndarray, errors_B: np.ndarray) -> PowerLaw:
    """Return the law with the least weighted squares; the weight of a budget is 1 / error².

    Args:
        labels_B: of each budget, above 0.
        means_B: scores in [0, 1].
        errors_B: standard errors of the scores.

    Raises:
        ValueError: there are fewer than `LEAST_BUDGETS`.
    """
    return fit_draws(labels_B, means_B[np.newaxis], errors_B)[0]


def fit_draws(labels_B: np.ndarray, means_RB: np.ndarray, errors_B: np.ndarray) -> list[PowerLaw]:
    """Return the law of each draw, as `fit_power_law`.

    For a fixed decay, the law is a line with intercept a and slope -b, whose least squares have a closed form
    (a at most 1, b at least 0). So all decays are tried, and no local minimum is taken for the global one.
    """
    if len(labels_B) < LEAST_BUDGETS:
        raise ValueError(f"expected at least {LEAST_BUDGETS} budgets, found {len(labels_B)}")
    unit = float(np.exp(np.log(labels_B).mean()))
    powers_CB = (labels_B / unit) ** -_DECAYS_C[:, np.newaxis]
    weights_B = np.maximum(errors_B, _SMALLEST_ERROR) ** -2.0
    weights_B /= weights_B.sum()
    power_C, mean_R = powers_CB @ weights_B, means_RB @ weights_B
    centred_CB = powers_CB - power_C[:, np.newaxis]
    variance_C = centred_CB**2 @ weights_B
    drops_RC = np.maximum(-((means_RB * weights_B) @ centred_CB.T) / variance_C, 0.0)
    ceilings_RC = mean_R[:, np.newaxis] + drops_RC * power_C
    # Where the line's intercept is above the largest score, the best line has this intercept.
    capped_RC = ((_CEILING - means_RB) * weights_B) @ powers_CB.T / (powers_CB**2 @ weights_B)
    drops_RC = np.where(ceilings_RC > _CEILING, capped_RC, drops_RC)
    ceilings_RC = np.minimum(ceilings_RC, _CEILING)
    misses_RCB = ceilings_RC[..., np.newaxis] - drops_RC[..., np.newaxis] * powers_CB - means_RB[:, np.newaxis]
    best_R = (misses_RCB**2 @ weights_B).argmin(axis=1)
    return [
        PowerLaw(float(ceilings_RC[draw, best]), float(drops_RC[draw, best]), float(_DECAYS_C[best]), unit)
        for draw, best in enumerate(best_R)
    ]
