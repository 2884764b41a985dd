"""Paired comparison of two methods on the same test images and seeds.

Shape letters: N test images, S seeds, M binary problems (`classification.split_binary_problems`).

Accuracy and AUROC are means of one value per image: correct or wrong for accuracy, a pseudo-value for AUROC. The
difference of two methods is therefore the mean of a table [S, N]. Its rows (seeds) and its columns (images) are random
samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from simclr_med.metrics.classification import split_binary_problems, y_pred, y_true
from simclr_med.metrics.intervals import LEVEL
from simclr_med.types import Task


@dataclass(frozen=True)
class Difference:
    """The score of method A minus the score of method B.

    Attributes:
        mean: of the difference, in [-1, 1].
        low, high: 95 % confidence interval of the mean.
        effect: Cohen's d_z: the mean divided by the standard deviation of the images' differences (means over seeds).
        p: two-sided and not corrected.
        seeds, images: their numbers.
    """

    mean: float
    low: float
    high: float
    effect: float
    p: float
    seeds: int
    images: int


def compute_image_accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return 1 for a correct and 0 for a wrong prediction, [N]; the fraction of correct labels if multi-label."""
    correct = y_true(task, labels_NL) == y_pred(task, probabilities_NK)
    return np.asarray(correct.reshape(len(correct), -1).mean(axis=1), dtype=np.float64)


def compute_image_auroc(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return pseudo-values of AUROC, float64 [N]: their mean is the AUROC, their variance that of DeLong et al. 1988.

    The value of an image in a binary problem follows from its placement: the fraction of the images with the other
    label that it is ranked correctly against, ties counting half. All values are NaN where no problem has both labels.
    """
    truth_NM, score_NM = split_binary_problems(task, labels_NL, probabilities_NK)
    values = []
    for truth, score in zip(truth_NM.T, score_NM.T, strict=True):
        positive, negative = int(truth.sum()), int((~truth).sum())
        if not positive or not negative:
            continue
        placement = np.empty(len(truth))
        placement[truth] = _count_below(score[~truth], score[truth]) / negative
        placement[~truth] = 1 - _count_below(score[truth], score[~truth]) / positive
        area = placement[truth].mean()
        fraction = np.where(truth, positive, negative) / len(truth)
        values.append(area + (placement - area) / fraction)
    return np.mean(values, axis=0) if values else np.full(len(labels_NL), np.nan)


def _count_below(others: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return how many of the others are below each score, equal ones counting half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def compare_paired(a_SN: np.ndarray, b_SN: np.ndarray) -> Difference:
    """Return the mean of A minus B with its uncertainty over images and seeds.

    With one seed it is a paired t-test over images, which does not generalise to other seeds. With several seeds,
    seeds and images are crossed random effects of a two-way analysis of variance without replication; negative
    variance components are set to 0, and the degrees of freedom are Satterthwaite's. Studies of diagnostic imaging
    treat readers and cases in this way (Dorfman, Berbaum and Metz 1992; Hillis 2007).

    Args:
        a_SN, b_SN: values of the same seeds and images in the same order.

    Raises:
        ValueError: there are fewer than two images, or the shapes differ.
    """
    if a_SN.shape != b_SN.shape or a_SN.shape[1] < 2:
        raise ValueError(
            f"expected two tables of one shape with at least 2 images, found {a_SN.shape} and {b_SN.shape}"
        )
    gap_SN = a_SN - b_SN
    seeds, images = gap_SN.shape
    mean = float(gap_SN.mean())
    by_image, by_seed = gap_SN.mean(axis=0), gap_SN.mean(axis=1)
    spread = float(by_image.std(ddof=1))
    if seeds == 1:
        error, freedom = spread / np.sqrt(images), float(images - 1)
    else:
        rest = gap_SN - by_image - by_seed[:, None] + mean
        freedoms = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)], dtype=np.float64)
        squares = np.array([images * by_seed.var(ddof=1), seeds * by_image.var(ddof=1), (rest**2).sum() / freedoms[2]])
        parts = np.array([max(squares[0] - squares[2], 0), max(squares[1] - squares[2], 0), squares[2]])
        signs = np.array([parts[0] > 0, parts[1] > 0, 1 - (parts[0] > 0) - (parts[1] > 0)])
        total = float(parts.sum())
        error = np.sqrt(total / (seeds * images))
        freedom = float(total**2 / ((signs * squares) ** 2 / freedoms).sum()) if total > 0 else 1.0
    if error == 0:
        return Difference(mean, mean, mean, 0.0 if mean == 0 else np.inf, float(mean == 0), seeds, images)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    effect = mean / spread if spread > 0 else np.inf
    return Difference(mean, mean - half, mean + half, effect, p, seeds, images)


def adjust_holm(p_values: Sequence[float]) -> np.ndarray:
    """Return the p-values corrected for all tests together (Holm 1979), in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
