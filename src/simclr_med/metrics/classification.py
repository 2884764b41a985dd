"""Metrics of a classifier's probabilities.

Shape letters: N images, K classes (or labels of a multi-label set), L label columns, M binary problems.

Labels have medmnist's layout, int [N, L]. Probabilities are [N, K]: a distribution over the classes (two for a binary
set), or independent probabilities of the labels of a multi-label set. Accuracy and AUROC equal those of medmnist's
Evaluator (medmnist 3.0, ``evaluator.py``) with one exception: a class without an AUROC, because all images or none have
it, is left out of the mean and does not make the mean undefined.

scikit-learn is imported by the functions that call it, so that training starts earlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simclr_med.types import MULTI_LABEL, Task

BINS = 15  # of the calibration error: Guo et al. 2017, section 5
_MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # lower bound in the log likelihood


def infer_task(labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> Task:
    """Return the task from the arrays' shapes; ordinal labels are scored as classes."""
    if labels_NL.shape[1] > 1:
        return MULTI_LABEL
    return "binary-class" if probabilities_NK.shape[1] == 2 else "multi-class"


def compute_scores(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> dict[str, float]:
    """Return accuracy, auroc, balanced_accuracy, macro_f1, calibration_error, nll and recall/<class> of one split.

    A score that is not defined (AUROC of a single class, recall of a class without images) is NaN.
    """
    scores = {
        "accuracy": accuracy(task, labels_NL, probabilities_NK),
        "auroc": auroc(task, labels_NL, probabilities_NK),
        "balanced_accuracy": balanced_accuracy(task, labels_NL, probabilities_NK),
        "macro_f1": macro_f1(task, labels_NL, probabilities_NK),
        "calibration_error": calibration_error(task, labels_NL, probabilities_NK),
        "nll": nll(task, labels_NL, probabilities_NK),
    }
    return scores | {f"recall/{k}": float(x) for k, x in enumerate(recall_per_class(task, labels_NL, probabilities_NK))}


def y_pred(task: Task, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return the predicted classes, int [N], or labels, [N, K] of 0 and 1; the threshold of binary problems is 0.5."""
    if task == MULTI_LABEL:
        return (probabilities_NK > 0.5).astype(np.int64)
    if task == "binary-class":
        return (probabilities_NK[:, -1] > 0.5).astype(np.int64)
    return probabilities_NK.argmax(axis=1)


def y_true(task: Task, labels_NL: np.ndarray) -> np.ndarray:
    """Return the true classes or labels in the layout of `y_pred`."""
    return labels_NL if task == MULTI_LABEL else labels_NL[:, 0]


def accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the fraction of correct predictions; of (image, label) pairs for a multi-label set."""
    return float((y_pred(task, probabilities_NK) == y_true(task, labels_NL)).mean())


def split_binary_problems(
    task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the binary problems whose mean AUROC is reported: truth, bool [N, M], and scores, [N, M].

    M is 1 for a binary set (its second class), otherwise K: each class against the others, or each label.
    """
    if task == MULTI_LABEL:
        return labels_NL == 1, probabilities_NK
    if task == "binary-class":
        return labels_NL == 1, probabilities_NK[:, -1:]
    return labels_NL == np.arange(probabilities_NK.shape[1]), probabilities_NK


def auroc_per_class(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return the AUROC of each problem of `split_binary_problems`, [M]; NaN where all labels are equal."""
    from sklearn.metrics import roc_auc_score

    truth, score = split_binary_problems(task, labels_NL, probabilities_NK)
    return np.array(
        [
            roc_auc_score(truth[:, m], score[:, m]) if 0 < truth[:, m].sum() < len(truth) else np.nan
            for m in range(truth.shape[1])
        ]
    )


def auroc(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the mean of `auroc_per_class` over the problems where it is defined; NaN without any."""
    each = auroc_per_class(task, labels_NL, probabilities_NK)
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def recall_per_class(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return the recall of each class or label, [K]; NaN without images."""
    return _recall(*_one_hot(task, labels_NL, probabilities_NK))


def balanced_accuracy(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the mean recall of the classes that have images.

    For a multi-label set it is the mean over the labels of (sensitivity + specificity) / 2.
    """
    true_NK, pred_NK = _one_hot(task, labels_NL, probabilities_NK)
    each = _recall(true_NK, pred_NK)
    if task == MULTI_LABEL:
        each = (each + _recall(~true_NK, ~pred_NK)) / 2
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def macro_f1(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the mean F1 of the classes or labels; 0 for one without images and predictions."""
    from sklearn.metrics import f1_score

    true, predicted = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    classes = range(probabilities_NK.shape[1])
    return float(f1_score(true, predicted, labels=list(classes), average="macro", zero_division=0))


def nll(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the mean negative log likelihood in nats; over (image, label) pairs for a multi-label set."""
    p = probabilities_NK.astype(np.float64)
    p = np.where(labels_NL == 1, p, 1 - p) if task == MULTI_LABEL else np.take_along_axis(p, labels_NL[:, :1], axis=1)
    return float(-np.log(np.clip(p, _MIN_PROBABILITY, 1)).mean())


def reliability_bins(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> dict[str, list[float]]:
    """Return count, mean confidence and accuracy in `BINS` bins of equal width (Guo et al. 2017, section 2).

    The confidence of a prediction is its probability; a multi-label set has N x K predictions.

    Returns:
        count, confidence and accuracy of each bin (NaN in an empty bin).
    """
    p = probabilities_NK.astype(np.float64)
    correct = (y_pred(task, probabilities_NK) == y_true(task, labels_NL)).ravel()
    confidence = (np.maximum(p, 1 - p) if task == MULTI_LABEL else p.max(axis=1)).ravel()
    bin_N = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bin_N, minlength=BINS)
    divisor = np.where(count > 0, count, np.nan)
    return {
        "count": count.tolist(),
        "confidence": (np.bincount(bin_N, confidence, BINS) / divisor).tolist(),
        "accuracy": (np.bincount(bin_N, correct, BINS) / divisor).tolist(),
    }


def calibration_error(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 5), in [0, 1]."""
    bins = {name: np.array(values) for name, values in reliability_bins(task, labels_NL, probabilities_NK).items()}
    gaps = np.nan_to_num(np.abs(bins["accuracy"] - bins["confidence"]))
    return float((bins["count"] * gaps).sum() / bins["count"].sum())


def confusion_matrix(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> list[Any]:
    """Return the counts by (true class, predicted class), [K][K]; multi-label: one matrix per label, [K][2][2]."""
    from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
    from sklearn.metrics import multilabel_confusion_matrix

    true, predicted = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    if task == MULTI_LABEL:
        return list(multilabel_confusion_matrix(true, predicted).tolist())
    return list(sklearn_confusion_matrix(true, predicted, labels=range(probabilities_NK.shape[1])).tolist())


def _one_hot(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted classes or labels, bool [N, K]."""
    true, predicted = y_true(task, labels_NL), y_pred(task, probabilities_NK)
    if task == MULTI_LABEL:
        return true == 1, predicted == 1
    classes = np.arange(probabilities_NK.shape[1])
    return true[:, None] == classes, predicted[:, None] == classes


def _recall(true_NK: np.ndarray, pred_NK: np.ndarray) -> np.ndarray:
    counts = true_NK.sum(axis=0)
    return np.where(counts > 0, (true_NK & pred_NK).sum(axis=0) / np.maximum(counts, 1), np.nan)
