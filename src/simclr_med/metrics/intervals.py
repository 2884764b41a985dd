"""How far a score may be from what more test images, or more seeds, would give. A leaf: numpy and scipy alone.

Shape letters: N images, K classes, M binary problems, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from simclr_med.metrics.classification import positives, y_pred, y_true
from simclr_med.types import MULTI_LABEL, Task

LEVEL = 0.95
_CELLS = 1 << 22  # numbers of a block of resamples in memory


def bootstrap(
    task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals over test images (Efron and Tibshirani 1993, chapter 13) of accuracy, auroc,
    balanced_accuracy and macro_f1.

    Images are drawn with replacement as whole rows. A resample in which a class is missing scores the classes it has.

    Args:
        task, labels_NL, probabilities_NK: as in `metrics`.
        resamples: R, 1000 or more for a stable second digit.
        seed: of the draws.

    Returns:
        name to (low, high); a score that no resample defines is left out.
    """
    multi_label = task == MULTI_LABEL
    right, found = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    width = probabilities_NK.shape[1]
    true_NK, found_NK = (
        (x == 1 if multi_label else x[:, None] == np.arange(width)).astype(np.float64) for x in (right, found)
    )
    hit_NK = true_NK * found_NK
    correct_N = (right == found).reshape(len(right), -1).mean(axis=1)
    truth_NM, score_NM = binary_problems(task, labels_NL, probabilities_NK)
    problems = [_sorted(truth_NM[:, m], score_NM[:, m]) for m in range(truth_NM.shape[1])]
    columns: dict[str, list[np.ndarray]] = {"accuracy": [], "auroc": [], "balanced_accuracy": [], "macro_f1": []}
    for weights_RN in _weights(len(labels_NL), resamples, seed):
        true, guessed, hit = (weights_RN @ x for x in (true_NK, found_NK, hit_NK))
        total = weights_RN.sum(axis=1, keepdims=True)
        columns["accuracy"].append(weights_RN @ correct_N / total[:, 0])
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hit / true
            if multi_label:
                recall = (recall + (total - true - guessed + hit) / (total - true)) / 2
            f1 = np.where(true + guessed > 0, 2 * hit / np.maximum(true + guessed, 1), 0)
        columns["balanced_accuracy"].append(_mean_of_known(recall))
        columns["macro_f1"].append(f1.mean(axis=1))
        columns["auroc"].append(_mean_of_known(np.stack([_aurocs(weights_RN, *p) for p in problems], axis=1)))
    found_intervals = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            found_intervals[name] = (float(low), float(high))
    return found_intervals


def compute_seed_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of Student's t over runs that differ in their seed; a single run has no interval (NaN)."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean())
    if len(known) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def _weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, [r, N] in blocks of r resamples that fit in memory."""
    generator = np.random.default_rng([seed, count])
    block = max(1, _CELLS // max(count, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, count, (rows, count))
        flat = np.bincount((drawn + np.arange(rows)[:, None] * count).ravel(), minlength=rows * count)
        yield flat.reshape(rows, count).astype(np.float64)


def _sorted(truth_N: np.ndarray, score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of the scores, the truth in it, and where each run of equal scores begins."""
    order = np.argsort(score_N, kind="stable")
    ordered = score_N[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, truth_N[order].astype(np.float64), starts


def _aurocs(weights_RN: np.ndarray, order: np.ndarray, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The Mann-Whitney statistic of weighted images, ties counting half, [R]; NaN where one side is missing."""
    weights = weights_RN[:, order]
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * (1 - truth), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (positive * (below + negative / 2)).sum(axis=1) / pairs, np.nan)


def _mean_of_known(values_RK: np.ndarray) -> np.ndarray:
    """Mean over the numbers of each row that are known; NaN for a row without any."""
    known = ~np.isnan(values_RK)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values_RK, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
