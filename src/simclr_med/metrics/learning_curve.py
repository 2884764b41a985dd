"""A learning curve as an inverse power law, and what more labels would buy.

Shape letters: B label budgets, E encoders, S label seeds, N test images, R draws.

The score after n labels is a - b (n / n0)^-c, with the ceiling a (Figueroa et al. 2012, doi 10.1186/1472-6947-12-8,
equation 1, whose x is n / n0; n0 is the geometric mean of the budgets).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit, logit

DRAWS = 200
LEAST_BUDGETS = 3  # as many as the law has parameters
_FASTEST = 3.0  # largest c
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
        return float(_evaluate(np.float64(labels / self.unit), self.ceiling, self.drop, self.decay))

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


def fit_power_law(
    labels_B: np.ndarray, means_B: np.ndarray, errors_B: np.ndarray, start: PowerLaw | None = None
) -> PowerLaw:
    """Return the law with the least weighted squares; the weight of a budget is 1 / error².

    Args:
        labels_B: of each budget, above 0.
        means_B: scores in [0, 1].
        errors_B: standard errors of the scores.
        start: where the search begins, with the same budgets; a law near the solution makes it shorter.

    Raises:
        ValueError: there are fewer than `LEAST_BUDGETS`.
        RuntimeError: the search does not converge.
    """
    if len(labels_B) < LEAST_BUDGETS:
        raise ValueError(f"expected at least {LEAST_BUDGETS} budgets, found {len(labels_B)}")
    unit = float(np.exp(np.log(labels_B).mean()))
    if start is None:
        start = PowerLaw(min(0.99, float(means_B.max()) + 0.02), max(1e-3, float(np.ptp(means_B)) / 2), 0.5, unit)
    begin = np.clip([start.ceiling, start.drop, start.decay / _FASTEST], 1e-6, 1 - 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # the covariance, which is not used, may not exist
        found, _ = curve_fit(
            _evaluate_free,
            labels_B / unit,
            means_B,
            p0=(logit(begin[0]), np.log(begin[1]), logit(begin[2])),
            sigma=np.maximum(errors_B, _SMALLEST_ERROR),
            maxfev=2000,
        )
    ceiling, drop, decay = _bound(*found)
    return PowerLaw(ceiling, drop, decay, unit)


def fit_draws(
    labels_B: np.ndarray, means_RB: np.ndarray, errors_B: np.ndarray, start: PowerLaw | None = None
) -> list[PowerLaw]:
    """Return the law of each draw; draws whose fit does not converge are left out."""
    laws = []
    for means_B in means_RB:
        try:
            laws.append(fit_power_law(labels_B, means_B, errors_B, start))
        except RuntimeError:
            continue
    return laws


def _evaluate(ratio: np.ndarray, ceiling: float, drop: float, decay: float) -> np.ndarray:
    return np.asarray(ceiling - drop * ratio**-decay)


def _bound(a: float, b: float, c: float) -> tuple[float, float, float]:
    """Return ceiling in (0, 1), drop > 0 and decay in (0, `_FASTEST`) from any three numbers.

    The search has no bounds then, which is ten times as fast.
    """
    return float(expit(a)), float(np.exp(min(b, 3.0))), float(_FASTEST * expit(c))


def _evaluate_free(ratio: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return _evaluate(ratio, *_bound(a, b, c))
