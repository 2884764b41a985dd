"""Scores of a classifier's probabilities. A leaf: numpy and scikit-learn alone.

Shape letters: N images, K classes (or labels of a multi-label set), L label columns.

Labels come in medmnist's layout, int [N, L]; probabilities as [N, K]: each row a distribution over the classes, two of
them for a binary set, or one independent probability a label for a multi-label set. Accuracy and AUROC are those of
medmnist's own Evaluator (medmnist 3.0, ``evaluator.py``), except that a class for which AUROC is not defined, because
the labels hold only this class or none of it, is left out of the mean instead of making it undefined.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import f1_score, multilabel_confusion_matrix, roc_auc_score

from simclr_med.types import MULTI_LABEL, Task

BINS = 15  # of the calibration error: Guo et al. 2017, section 5
_SMALLEST = float(np.finfo(np.float32).eps)  # a probability below counts as this in the log likelihood


def compute_scores(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> dict[str, float]:
    """Every score of one split: accuracy, auroc, balanced_accuracy, macro_f1, calibration_error, nll, recall/<class>.

    A score that the labels leave undefined (AUROC of a single class, recall of a class without images) is NaN.
    """
    found = {
        "accuracy": accuracy(task, labels_NL, probabilities_NK),
        "auroc": auroc(task, labels_NL, probabilities_NK),
        "balanced_accuracy": balanced_accuracy(task, labels_NL, probabilities_NK),
        "macro_f1": macro_f1(task, labels_NL, probabilities_NK),
        "calibration_error": calibration_error(task, labels_NL, probabilities_NK),
        "nll": nll(task, labels_NL, probabilities_NK),
    }
    return found | {f"recall/{k}": float(x) for k, x in enumerate(recall_per_class(task, labels_NL, probabilities_NK))}


def y_pred(task: Task, probabilities_NK: np.ndarray) -> np.ndarray:
    """The answers: int [N] classes, or [N, K] of 0 and 1 for a multi-label set. Binary answers are 1 above 0.5."""
    if task == MULTI_LABEL:
        return (probabilities_NK > 0.5).astype(np.int64)
    if task == "binary-class":
        return (probabilities_NK[:, -1] > 0.5).astype(np.int64)
    return probabilities_NK.argmax(axis=1)


def y_true(task: Task, labels_NL: np.ndarray) -> np.ndarray:
    """The right answers in the layout of `predicted`."""
    return labels_NL if task == MULTI_LABEL else labels_NL[:, 0]


def accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Fraction of right answers; of (image, label) pairs for a multi-label set."""
    return float((y_pred(task, probabilities_NK) == y_true(task, labels_NL)).mean())


def binary_problems(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The binary problems whose mean AUROC is reported: truth bool [N, M] and scores [N, M].

    M is 1 for a binary set (its second class), K else: each class against the others, or each label.
    """
    if task == MULTI_LABEL:
        return labels_NL == 1, probabilities_NK
    if task == "binary-class":
        return labels_NL == 1, probabilities_NK[:, -1:]
    return labels_NL == np.arange(probabilities_NK.shape[1]), probabilities_NK


def auroc_per_class(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """AUROC of each problem of `positives`, [M]; NaN where the labels hold one side only."""
    truth, score = binary_problems(task, labels_NL, probabilities_NK)
    return np.array(
        [
            roc_auc_score(truth[:, m], score[:, m]) if 0 < truth[:, m].sum() < len(truth) else np.nan
            for m in range(truth.shape[1])
        ]
    )


def auroc(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Mean of `aurocs` over the problems for which it is defined; NaN when there are none."""
    each = auroc_per_class(task, labels_NL, probabilities_NK)
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def recall_per_class(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Fraction of each class's (or label's) images that are found, [K]; NaN without images."""
    return _found_of(*_one_hot(task, labels_NL, probabilities_NK))


def balanced_accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Mean recall of the classes that have images; for a multi-label set the mean over the labels of
    (sensitivity + specificity) / 2."""
    true_NK, found_NK = _one_hot(task, labels_NL, probabilities_NK)
    each = _found_of(true_NK, found_NK)
    if task == MULTI_LABEL:
        each = (each + _found_of(~true_NK, ~found_NK)) / 2
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def macro_f1(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Mean F1 of the classes or labels; 0 for one that is neither there nor predicted."""
    true, found = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    classes = range(probabilities_NK.shape[1])
    return float(f1_score(true, found, labels=list(classes), average="macro", zero_division=0))


def nll(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Mean negative log likelihood of the right answer, in nats; over (image, label) pairs for a multi-label set."""
    p = probabilities_NK.astype(np.float64)
    p = np.where(labels_NL == 1, p, 1 - p) if task == MULTI_LABEL else np.take_along_axis(p, labels_NL[:, :1], axis=1)
    return float(-np.log(np.clip(p, _SMALLEST, 1)).mean())


def reliability_bins(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> dict[str, list[float]]:
    """Confidence against accuracy in `BINS` equal bins of confidence (Guo et al. 2017, section 2).

    The confidence of an answer is its probability; a multi-label set has N x K answers.

    Returns:
        count, confidence and accuracy of each bin (NaN in an empty one).
    """
    p = probabilities_NK.astype(np.float64)
    right = (y_pred(task, probabilities_NK) == y_true(task, labels_NL)).ravel()
    confidence = (np.maximum(p, 1 - p) if task == MULTI_LABEL else p.max(axis=1)).ravel()
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    some = np.where(count > 0, count, np.nan)
    return {
        "count": count.tolist(),
        "confidence": (np.bincount(place, confidence, BINS) / some).tolist(),
        "accuracy": (np.bincount(place, right, BINS) / some).tolist(),
    }


def calibration_error(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017, equation 5), in [0, 1]."""
    bins = {name: np.array(values) for name, values in reliability_bins(task, labels_NL, probabilities_NK).items()}
    gaps = np.nan_to_num(np.abs(bins["accuracy"] - bins["confidence"]))
    return float((bins["count"] * gaps).sum() / bins["count"].sum())


def confusion_matrix(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> list[Any]:
    """Counts by (true class, answer), [K][K]; [K][2][2] for a multi-label set, one table a label."""
    true, found = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    if task == MULTI_LABEL:
        return list(multilabel_confusion_matrix(true, found).tolist())
    return list(sklearn_confusion_matrix(true, found, labels=range(probabilities_NK.shape[1])).tolist())


def _one_hot(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right answers and answers, bool [N, K]."""
    right, found = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    if task == MULTI_LABEL:
        return right == 1, found == 1
    classes = np.arange(probabilities_NK.shape[1])
    return right[:, None] == classes, found[:, None] == classes


def _found_of(true_NK: np.ndarray, found_NK: np.ndarray) -> np.ndarray:
    counts = true_NK.sum(axis=0)
    return np.where(counts > 0, (true_NK & found_NK).sum(axis=0) / np.maximum(counts, 1), np.nan)
