"""Whether one method is better than another, judged on the same test images and the same seeds.

Shape letters: N test images, S seeds, M binary problems (`metrics.positives`).

Both scores are means of one value an image: accuracy of right and wrong, AUROC of the pseudo-values below. The
difference of two methods is therefore the mean of a table [S, N], whose rows are seeds and whose columns are images,
both drawn at random from the many that might have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from simclr_med.metrics.classification import positives, y_pred, y_true
from simclr_med.metrics.intervals import LEVEL
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class Difference:
    """A minus B.

    Attributes:
        mean: of the score, in [-1, 1].
        low, high: 95 % interval of the mean.
        effect: Cohen's d_z: mean over the standard deviation of the images' differences (of their means over seeds).
        p: two-sided, before any correction.
        seeds, images: how many.
    """

    mean: float
    low: float
    high: float
    effect: float
    p: float
    seeds: int
    images: int


def infer_task(labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> Task:
    """What kind of labels these are; an ordinal set is scored as one of several classes."""
    if labels_NL.shape[1] > 1:
        return MULTI_LABEL
    return "binary-class" if probabilities_NK.shape[1] == 2 else "multi-class"


def compute_image_accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """1 for a right answer and 0 for a wrong one, float64 [N]; the share of right labels when multi-label."""
    right = y_true(task, labels_NL) == y_pred(task, probabilities_NK)
    return np.asarray(right.reshape(len(right), -1).mean(axis=1), dtype=np.float64)


def compute_image_auroc(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Pseudo-values of AUROC, float64 [N]: their mean is `metrics.auroc`, their spread that of DeLong et al. 1988.

    For each binary problem an image counts by its placement: the share of the other side's images that it is ranked
    right against, ties half. NaN throughout where no problem has both sides.
    """
    truth_NM, score_NM = binary_problems(task, labels_NL, probabilities_NK)
    found = []
    for truth, score in zip(truth_NM.T, score_NM.T, strict=True):
        some, none = int(truth.sum()), int((~truth).sum())
        if not some or not none:
            continue
        placement = np.empty(len(truth))
        placement[truth] = _below(score[~truth], score[truth]) / none
        placement[~truth] = 1 - _below(score[truth], score[~truth]) / some
        area = placement[truth].mean()
        share = np.where(truth, some, none) / len(truth)
        found.append(area + (placement - area) / share)
    return np.mean(found, axis=0) if found else np.full(len(labels_NL), np.nan)


def _below(others: np.ndarray, score: np.ndarray) -> np.ndarray:
    """How many of the others lie below each score, those equal to it counting half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def compare_paired(a_SN: np.ndarray, b_SN: np.ndarray) -> Difference:
    """The mean of A minus B, with its uncertainty over images and seeds together.

    One seed: the paired t-test over images, which says nothing of other seeds. Several: seeds and images are crossed
    random effects of a two-way analysis of variance without replication, negative components counted as none, and
    degrees of freedom by Satterthwaite. That is how readers and cases are treated in studies of diagnostic imaging
    (Dorfman, Berbaum and Metz 1992; Hillis 2007).

    Args:
        a_SN, b_SN: values of the same seeds and images in the same order.

    Raises:
        ValueError: there are fewer than two images, or the shapes differ.
    """
    if a_SN.shape != b_SN.shape or a_SN.shape[1] < 2:
        raise ValueError(f"must be two tables of one shape with two images or more, not {a_SN.shape} and {b_SN.shape}")
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
    """p-values that hold for all tests together (Holm 1979), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(steps, 1)
    return found
