"""Confidence intervals of one classifier's scores, over test images.

Shape letters: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from scipy.special import expit, logit

from simclr_med.metrics.classification import y_pred, y_true
from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc, count_rarest
from simclr_med.types import MULTI_LABEL, Task

LEVEL = 0.95
_BLOCK_SIZE = 1 << 22  # numbers in a block of resamples; limits the memory


def compute_test_intervals(
    task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of one classifier's scores over test images.

    Accuracy has the interval of Wilson 1927, AUROC that of DeLong et al. 1988 on the logit scale, balanced accuracy and
    macro F1 the bootstrap. All stay in [0, 1], and none has a width of 0: where every prediction is right, the interval
    is Wilson's for the number of images of the rarest class.

    Args:
        task, labels_NL, probabilities_NK: as in `classification`.
        resamples, seed: of the bootstrap; 0 resamples leave its scores out.

    Returns:
        (low, high) of accuracy, auroc, balanced_accuracy and macro_f1; a score without a defined value is left out.
    """
    rarest = count_rarest(task, labels_NL, probabilities_NK)
    bounds = {"accuracy": interval_of_images(compute_image_accuracy(task, labels_NL, probabilities_NK))}
    auroc_N = compute_image_auroc(task, labels_NL, probabilities_NK)
    if not np.isnan(auroc_N).any():
        bounds["auroc"] = interval_of_auroc(auroc_N)
    if resamples:
        bounds |= bootstrap(task, labels_NL, probabilities_NK, resamples, seed)
    return {
        name: wilson_interval(high, max(rarest, 1)) if low == high and low in (0, 1) else (low, high)
        for name, (low, high) in bounds.items()
    }


def interval_of_auroc(auroc_N: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of DeLong et al. 1988 on the logit scale, from `image_values.compute_image_auroc`."""
    error = float(auroc_N.std(ddof=1) / np.sqrt(len(auroc_N)))
    return logit_interval(float(auroc_N.mean()), NormalDist().inv_cdf((1 + LEVEL) / 2) * error)


def wilson_interval(fraction: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval of a binomial fraction (Wilson 1927); (0, 1) for a count of 0."""
    if count <= 0:
        return 0.0, 1.0
    square = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (fraction + square / (2 * count)) / (1 + square / count)
    half = np.sqrt(square * (fraction * (1 - fraction) / count + square / (4 * count**2))) / (1 + square / count)
    return (0.0 if fraction == 0 else float(centre - half)), (1.0 if fraction == 1 else float(centre + half))


def logit_interval(score: float, half: float) -> tuple[float, float]:
    """Return the interval of a score in [0, 1] whose half width was computed on the scale of the score.

    The interval is symmetric on the logit scale, by the delta method, so that it stays in [0, 1].
    """
    if not 0 < score < 1:
        return score, score
    shift = half / (score * (1 - score))
    return float(expit(logit(score) - shift)), float(expit(logit(score) + shift))


def bootstrap(
    task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals over test images (Efron and Tibshirani 1993, chapter 13).

    Images are drawn with replacement as whole rows. A resample without images of a class is scored on the other
    classes.

    Args:
        task, labels_NL, probabilities_NK: as in `classification`.
        resamples: R, 1000 or more for a stable second digit.
        seed: of the resamples.

    Returns:
        (low, high) of balanced_accuracy and macro_f1; a score without a defined value is left out.
    """
    is_multi_label = task == MULTI_LABEL
    true, predicted = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    width = probabilities_NK.shape[1]
    true_NK, pred_NK = (
        (x == 1 if is_multi_label else x[:, None] == np.arange(width)).astype(np.float64) for x in (true, predicted)
    )
    hits_NK = true_NK * pred_NK
    columns: dict[str, list[np.ndarray]] = {"balanced_accuracy": [], "macro_f1": []}
    for weights_RN in _draw_weights(len(labels_NL), resamples, seed):
        true_RK, pred_RK, hits_RK = (weights_RN @ x for x in (true_NK, pred_NK, hits_NK))
        total = weights_RN.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hits_RK / true_RK
            if is_multi_label:
                recall = (recall + (total - true_RK - pred_RK + hits_RK) / (total - true_RK)) / 2
            f1 = np.where(true_RK + pred_RK > 0, 2 * hits_RK / np.maximum(true_RK + pred_RK, 1), 0)
        columns["balanced_accuracy"].append(_mean_of_known(recall))
        columns["macro_f1"].append(f1.mean(axis=1))
    bounds = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            bounds[name] = (float(low), float(high))
    return bounds


def interval_of_images(values_N: np.ndarray) -> tuple[float, float]:
    """Return Wilson's interval of the mean of values in [0, 1].

    The count is that of independent yes-or-no values with the same variance of the mean: N for accuracy, between N and
    N K for the fraction of correct labels of a multi-label set (Korn and Graubard 1998).
    """
    mean, variance, count = float(values_N.mean()), float(values_N.var()), float(len(values_N))
    return wilson_interval(mean, mean * (1 - mean) / variance * count if variance > 0 else count)


def _draw_weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn, [r, N], in blocks of r resamples that fit in memory."""
    generator = np.random.default_rng([seed, count])
    block = max(1, _BLOCK_SIZE // max(count, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, count, (rows, count))
        flat = np.bincount((drawn + np.arange(rows)[:, None] * count).ravel(), minlength=rows * count)
        yield flat.reshape(rows, count).astype(np.float64)


def _mean_of_known(values_RK: np.ndarray) -> np.ndarray:
    """Return the mean over the defined values of each row; NaN for a row without any."""
    known = ~np.isnan(values_RK)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values_RK, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
