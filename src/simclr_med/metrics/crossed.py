"""The mean of scores over encoders, label seeds and test images, with its uncertainty.

Shape letters: E encoders, S label seeds, N test images.

Encoders, label seeds and test images are crossed random effects. The variance of the mean is a sum of terms, each an
estimate with its own degrees of freedom:

    seeds     MS_seed / (S N): of the means over encoders and images
    encoders  s² / E of each side: of the means over seeds and images
    images    max(MS_image - MS_rest, 0) / (S N)

The terms of seeds and encoders have few degrees of freedom. They are added, with the degrees of freedom of
Satterthwaite 1946. The term of the images has many. Added as well, it would hide that the other terms may be too small
by chance, and a test at a level of 0.002 would reject up to eight times too often. So the error of the mean is the sum
of two independent variables instead, Student's t of the few and Student's t of the images: the generalised pivot of
Weerahandi 1995, known from the problem of Behrens and Fisher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit

# Nodes of the integrals over chi squared; more degrees of freedom need fewer.
_NODES_OF_FEW = 128
_NODES_OF_IMAGES = 64


@dataclass(frozen=True)
class Term:
    """One part of the variance of a mean.

    Attributes:
        variance: of the mean; in squared units of the score.
        freedom: degrees of freedom of its estimate.
        fixed: part of the variance that a larger sample does not lower.
    """

    variance: float
    freedom: float
    fixed: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    Attributes:
        mean: of the scores, or of their differences.
        images: term of the test images.
        seeds: term of the label seeds; None where they changed nothing.
        encoders: a term for each side whose encoders are a sample; both sides share one if they share the encoders.
    """

    mean: float
    images: Term
    seeds: Term | None = None
    encoders: tuple[Term, ...] = ()

    def p_value(self, true_mean: float = 0.0) -> float:
        """Return the two-sided p-value of the hypothesis that the true mean is this one."""
        few = self._add_few()
        distance = abs(self.mean - true_mean)
        if few.variance == self.images.variance == 0:
            return float(distance == 0)
        return _both_tails(distance, few, self.images)

    def half_width(self, level: float) -> float:
        """Return half the width of the confidence interval of this level."""
        few = self._add_few()
        widths = [np.sqrt(term.variance) * -stdtrit(term.freedom, (1 - level) / 2) for term in (few, self.images)]
        if min(widths) == 0:
            return float(max(widths))
        # The quantile of the sum lies between the larger of both quantiles and their sum.
        return float(brentq(lambda x: _both_tails(x, few, self.images) - (1 - level), max(widths) / 2, sum(widths) * 2))

    def resize(self, seeds: int = 0, encoders: int = 0) -> Estimate:
        """Return the estimate that so many seeds and encoders, but not fewer than now, would give.

        The mean and the variance components stay the same.
        """
        return replace(
            self,
            seeds=None if self.seeds is None else _enlarge(self.seeds, seeds),
            encoders=tuple(_enlarge(term, encoders) for term in self.encoders),
        )

    def _add_few(self) -> Term:
        """Return the sum of the terms of seeds and encoders, with Satterthwaite's degrees of freedom."""
        terms = [term for term in (self.seeds, *self.encoders) if term is not None and term.variance > 0]
        total = sum(term.variance for term in terms)
        if not terms:
            return Term(0.0, 1.0)
        return Term(total, total**2 / sum(term.variance**2 / term.freedom for term in terms))


def seed_term(values_S: np.ndarray, share: float = 0.0) -> Term | None:
    """Return the term of the label seeds; None for fewer than two.

    The label subsets of the seeds are drawn from one pool and overlap, so their scores are correlated, by about the
    share of the pool that each uses. The factor 1/S + share / (1 - share) of Nadeau and Bengio 2003, with this
    share as the correlation, takes this into account.

    Args:
        values_S: mean score of each seed.
        share: of the pool in a subset, in [0, 1]; 1 means that every seed has the same labels.
    """
    if len(values_S) < 2:
        return None
    overlap = share / (1 - share) if share < 1 else 0.0
    variance = float(values_S.var(ddof=1))
    return Term(variance * (1 / len(values_S) + overlap), len(values_S) - 1.0, variance * overlap)


def encoder_term(values_E: np.ndarray) -> tuple[Term, ...]:
    """Return the term of the encoders from the mean score of each; none for a single encoder."""
    if len(values_E) < 2:
        return ()
    return (Term(float(values_E.var(ddof=1)) / len(values_E), len(values_E) - 1.0),)


def image_term(values_SN: np.ndarray) -> Term:
    """Return the term of the test images: max(MS_image - MS_rest, 0) / (S N); with one seed, MS_image / N."""
    seeds, images = values_SN.shape
    by_image_N = values_SN.mean(axis=0)
    variance = float(by_image_N.var(ddof=1)) / images
    if seeds > 1:
        rest_SN = values_SN - by_image_N - values_SN.mean(axis=1, keepdims=True) + values_SN.mean()
        variance -= float((rest_SN**2).sum()) / ((seeds - 1) * (images - 1)) / (seeds * images)
    return Term(max(variance, 0.0), images - 1.0)


def estimate_difference(a_ESN: np.ndarray, b_ESN: np.ndarray, is_paired: bool = False, share: float = 0.0) -> Estimate:
    """Return the mean of side A minus the mean of side B over the same seeds and test images.

    Args:
        a_ESN, b_ESN: values of each side; E may differ. A side whose encoder varies with the seed has E = 1.
        is_paired: whether the encoders of both sides are the same ones, in the same order.
        share: as in `seed_term`.

    Raises:
        ValueError: there are fewer than two images, or the seeds or images differ.
    """
    if a_ESN.shape[1:] != b_ESN.shape[1:] or a_ESN.shape[2] < 2:
        raise ValueError(
            f"expected two tables of the same seeds and at least 2 images, found {a_ESN.shape} and {b_ESN.shape}"
        )
    gap_SN = a_ESN.mean(axis=0) - b_ESN.mean(axis=0)
    a_E, b_E = a_ESN.mean(axis=(1, 2)), b_ESN.mean(axis=(1, 2))
    return Estimate(
        mean=float(gap_SN.mean()),
        images=image_term(gap_SN),
        seeds=seed_term(gap_SN.mean(axis=1), share),
        encoders=encoder_term(a_E - b_E) if is_paired else encoder_term(a_E) + encoder_term(b_E),
    )


def _enlarge(term: Term, count: int) -> Term:
    """Return the term of a sample of this size, if it is larger than now."""
    factor = max(count / (term.freedom + 1), 1.0)
    return Term((term.variance - term.fixed) / factor + term.fixed, (term.freedom + 1) * factor - 1, term.fixed)


def _both_tails(distance: float, few: Term, images: Term) -> float:
    """Return P(|X + Y| > distance) for independent X and Y of Student's t, scaled by the roots of the variances.

    Each is normal with the variance divided by w, a variable of chi squared divided by its degrees of freedom. So for
    given w and v, the sum is normal; the integrals run over log w and log v.
    """
    if few.variance == 0:
        return float(2 * stdtr(images.freedom, -distance / np.sqrt(images.variance)))
    few_w, weight_w = _divide_chi_squared(few.freedom, _NODES_OF_FEW)
    images_v, weight_v = _divide_chi_squared(images.freedom, _NODES_OF_IMAGES)
    total_wv = few.variance / few_w[:, None] + images.variance / images_v
    return float(weight_w @ (2 * ndtr(-distance / np.sqrt(total_wv))) @ weight_v)


def _divide_chi_squared(freedom: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an integral over chi squared divided by its degrees of freedom.

    The nodes are equidistant in the logarithm, up to where the density is 1e-15 of its maximum.
    """
    lowest = -72 / freedom - 12 / np.sqrt(freedom)
    log_w = np.linspace(lowest, np.log1p((12 * np.sqrt(2 * freedom) + 40) / freedom), nodes)
    weight = np.exp(freedom / 2 * (log_w - np.expm1(log_w)))
    return np.exp(log_w), weight / weight.sum()
