"""Confidence intervals of scores, over test images and over seeds.

Shape letters: N images, K classes, M binary problems, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from simclr_med.metrics.classification import split_binary_problems, y_pred, y_true
from simclr_med.types import MULTI_LABEL, Task

LEVEL = 0.95
_BLOCK_SIZE = 1 << 22  # numbers in a block of resamples; limits the memory


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
        (low, high) of accuracy, auroc, balanced_accuracy and macro_f1; a score without a defined value is left out.
    """
    is_multi_label = task == MULTI_LABEL
    true, predicted = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    width = probabilities_NK.shape[1]
    true_NK, pred_NK = (
        (x == 1 if is_multi_label else x[:, None] == np.arange(width)).astype(np.float64) for x in (true, predicted)
    )
    hits_NK = true_NK * pred_NK
    correct_N = (true == predicted).reshape(len(true), -1).mean(axis=1)
    truth_NM, score_NM = split_binary_problems(task, labels_NL, probabilities_NK)
    problems = [_sort_by_score(truth_NM[:, m], score_NM[:, m]) for m in range(truth_NM.shape[1])]
    columns: dict[str, list[np.ndarray]] = {"accuracy": [], "auroc": [], "balanced_accuracy": [], "macro_f1": []}
    for weights_RN in _draw_weights(len(labels_NL), resamples, seed):
        true_RK, pred_RK, hits_RK = (weights_RN @ x for x in (true_NK, pred_NK, hits_NK))
        total = weights_RN.sum(axis=1, keepdims=True)
        columns["accuracy"].append(weights_RN @ correct_N / total[:, 0])
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hits_RK / true_RK
            if is_multi_label:
                recall = (recall + (total - true_RK - pred_RK + hits_RK) / (total - true_RK)) / 2
            f1 = np.where(true_RK + pred_RK > 0, 2 * hits_RK / np.maximum(true_RK + pred_RK, 1), 0)
        columns["balanced_accuracy"].append(_mean_of_known(recall))
        columns["macro_f1"].append(f1.mean(axis=1))
        columns["auroc"].append(_mean_of_known(np.stack([_weighted_auroc(weights_RN, *p) for p in problems], axis=1)))
    bounds = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            bounds[name] = (float(low), float(high))
    return bounds


def compute_seed_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the 95 % interval of Student's t over runs with different seeds; NaN bounds for one run."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean())
    if len(known) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def _draw_weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn, [r, N], in blocks of r resamples that fit in memory."""
    generator = np.random.default_rng([seed, count])
    block = max(1, _BLOCK_SIZE // max(count, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, count, (rows, count))
        flat = np.bincount((drawn + np.arange(rows)[:, None] * count).ravel(), minlength=rows * count)
        yield flat.reshape(rows, count).astype(np.float64)


def _sort_by_score(truth_N: np.ndarray, score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the order of the scores, the truth in this order, and the first index of each group of equal scores."""
    order = np.argsort(score_N, kind="stable")
    ordered = score_N[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, truth_N[order].astype(np.float64), starts


def _weighted_auroc(weights_RN: np.ndarray, order: np.ndarray, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the Mann-Whitney statistic of weighted images, ties counting half, [R]; NaN where all labels are equal."""
    weights = weights_RN[:, order]
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * (1 - truth), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (positive * (below + negative / 2)).sum(axis=1) / pairs, np.nan)


def _mean_of_known(values_RK: np.ndarray) -> np.ndarray:
    """Return the mean over the defined values of each row; NaN for a row without any."""
    known = ~np.isnan(values_RK)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values_RK, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
