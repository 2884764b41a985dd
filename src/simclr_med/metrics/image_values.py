"""One value for each test image, whose mean is the score of the test split.

Shape letters: N test images, M binary problems (`classification.split_binary_problems`).

Accuracy is the mean of correct or wrong, AUROC the mean of pseudo-values. The difference of two methods is therefore a
mean over test images as well, and the images are a random sample.
"""

from __future__ import annotations

import numpy as np

from simclr_med.metrics.classification import split_binary_problems, y_pred, y_true
from simclr_med.types import Task


def count_rarest(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> int:
    """Return the smallest number of positive or negative images in a binary problem that has both."""
    truth_NM, _ = split_binary_problems(task, labels_NL, probabilities_NK)
    positive_M = truth_NM.sum(axis=0)
    smaller_M = np.minimum(positive_M, len(truth_NM) - positive_M)
    return int(smaller_M[smaller_M > 0].min(initial=len(truth_NM)))


def compute_image_accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return 1 for a correct and 0 for a wrong prediction, [N]; the fraction of correct labels if multi-label."""
    correct = y_true(task, labels_NL) == y_pred(task, probabilities_NK)
    return np.asarray(correct.reshape(len(correct), -1).mean(axis=1), dtype=np.float64)


def compute_image_auroc(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return pseudo-values of AUROC, float64 [N], whose mean is the AUROC.

    The value of an image in a binary problem follows from its placement: the fraction of the images with the other
    label that it is ranked correctly against, ties counting half. The placements of the n images with a label are
    spread by N / n, and by the root of n (N - 1) / (N (n - 1)). So the variance of the N values (with N - 1), divided
    by N, is that of DeLong et al. 1988; this also holds for the difference of two classifiers. Several binary problems
    enter with the mean of their values. All values are NaN where no problem has both labels.
    """
    truth_NM, score_NM = split_binary_problems(task, labels_NL, probabilities_NK)
    values = []
    for truth, score in zip(truth_NM.T, score_NM.T, strict=True):
        positive, negative, total = int(truth.sum()), int((~truth).sum()), len(truth)
        if not positive or not negative:
            continue
        placement = np.empty(total)
        placement[truth] = _count_below(score[~truth], score[truth]) / negative
        placement[~truth] = 1 - _count_below(score[truth], score[~truth]) / positive
        area = placement[truth].mean()
        count = np.where(truth, positive, negative)
        # One image alone has no variance: its placement is the mean.
        correction = np.sqrt(count / np.maximum(count - 1, 1) * (total - 1) / total)
        values.append(area + (placement - area) * total / count * correction)
    return np.mean(values, axis=0) if values else np.full(len(labels_NL), np.nan)


def _count_below(others: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return how many of the others are below each score, equal ones counting half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2
