"""A classifier's predictions as a table with one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_med.metrics import classification
from simclr_med.types import MULTI_LABEL, Task

DIGITS = 4  # of a probability in the table


@dataclass(frozen=True)
class Predictions:
    """A classifier's output for some images.

    Attributes:
        task, classes: the kind of labels, and the names of the K classes.
        probabilities_NK: float32.
        labels_NL: int64 in medmnist's layout; None for images without labels.
        names: the images' files, or None.
    """

    task: Task
    classes: tuple[str, ...]
    probabilities_NK: np.ndarray
    labels_NL: np.ndarray | None = None
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.probabilities_NK)

    @property
    def is_correct_N(self) -> np.ndarray | None:
        """Whether a prediction equals the label (every label of a multi-label set); bool, None without labels."""
        if self.labels_NL is None:
            return None
        same = classification.y_pred(self.task, self.probabilities_NK) == classification.y_true(
            self.task, self.labels_NL
        )
        return np.asarray(same.all(axis=1) if same.ndim == 2 else same)

    @property
    def confidence_N(self) -> np.ndarray:
        """Probability of the prediction; of a multi-label set that of its least certain label."""
        p = self.probabilities_NK
        return np.asarray(np.maximum(p, 1 - p).min(axis=1) if self.task == MULTI_LABEL else p.max(axis=1))


def select_rows(predictions: Predictions, limit: int) -> np.ndarray:
    """Return the rows of at most ``limit`` images, int64, evenly spaced over the split and the same each time.

    Wrong predictions come first, the most confident at the top, then correct ones in the same order. Without labels the
    rows rise.
    """
    count = len(predictions)
    rows_M = np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(np.int64)
    is_correct_N = predictions.is_correct_N
    if is_correct_N is None:
        return rows_M
    return rows_M[np.lexsort((rows_M, -predictions.confidence_N[rows_M], is_correct_N[rows_M]))]


def to_table(predictions: Predictions, rows_M: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    """Return the columns' names, and the cells of these images in their order.

    The columns are row (in the split), file where there are names, true and right where there are labels, predicted,
    confidence, and the probability of each class. A vertical bar separates several labels of an image.
    """
    labelled = predictions.labels_NL is not None
    columns = ["row", *["file"] * (predictions.names is not None), *["true"] * labelled, "predicted"]
    columns += [*["right"] * labelled, "confidence", *(f"probability/{name}" for name in predictions.classes)]
    y_pred = classification.y_pred(predictions.task, predictions.probabilities_NK)
    y_true = None
    if predictions.labels_NL is not None:
        y_true = classification.y_true(predictions.task, predictions.labels_NL)
    is_correct_N, confidence_N = predictions.is_correct_N, predictions.confidence_N
    rows = []
    for n in rows_M.tolist():
        row: list[Any] = [n]
        if predictions.names is not None:
            row.append(predictions.names[n])
        if y_true is not None:
            row.append(_format_label(y_true[n], predictions.classes))
        row.append(_format_label(y_pred[n], predictions.classes))
        if is_correct_N is not None:
            row.append(bool(is_correct_N[n]))
        numbers = (confidence_N[n], *predictions.probabilities_NK[n])
        rows.append([*row, *(round(float(number), DIGITS) for number in numbers)])
    return columns, rows


def _format_label(label: np.ndarray, classes: Sequence[str]) -> str:
    if np.ndim(label) == 0:
        return classes[int(label)]
    return "|".join(classes[int(k)] for k in np.flatnonzero(label))
