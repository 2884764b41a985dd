"""A classifier's answers as a table that people read: one row an image."""

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
    """What a classifier says of some images.

    Attributes:
        task, classes: what the K probabilities are of.
        probabilities_NK: float32.
        labels_NL: int64 in medmnist's layout; None for images that nobody has labelled.
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
    def right_N(self) -> np.ndarray | None:
        """Whether an answer is the true one, of a multi-label set in every label; bool, None without labels."""
        if self.labels_NL is None:
            return None
        same = classification.y_pred(self.task, self.probabilities_NK) == classification.y_true(
            self.task, self.labels_NL
        )
        return np.asarray(same.all(axis=1) if same.ndim == 2 else same)

    @property
    def confidence_N(self) -> np.ndarray:
        """Probability of the answer; of a multi-label set that of its least certain label."""
        p = self.probabilities_NK
        return np.asarray(np.maximum(p, 1 - p).min(axis=1) if self.task == MULTI_LABEL else p.max(axis=1))


def select_rows(answers: Predictions, most: int) -> np.ndarray:
    """At most so many rows, evenly spaced from the first to the last and the same each time; int64.

    Wrong answers come first, the surest at the top, then right ones likewise; without labels they stay in order.
    """
    count = len(answers)
    rows_M = np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)
    right_N = answers.right_N
    if right_N is None:
        return rows_M
    return rows_M[np.lexsort((rows_M, -answers.confidence_N[rows_M], right_N[rows_M]))]


def to_table(answers: Predictions, rows_M: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    """The columns' names, and a row for each of these images, in their order.

    The columns are row (in the split), file where there are names, true and right where there are labels, predicted,
    confidence, and the probability of each class. Several labels of an image are separated by a vertical bar.
    """
    known = answers.labels_NL is not None
    columns = ["row", *["file"] * (answers.names is not None), *["true"] * known, "predicted", *["right"] * known]
    columns += ["confidence", *(f"probability/{name}" for name in answers.classes)]
    found = classification.y_pred(answers.task, answers.probabilities_NK)
    true = None if answers.labels_NL is None else classification.y_true(answers.task, answers.labels_NL)
    right_N, confidence_N = answers.right_N, answers.confidence_N
    rows = []
    for n in rows_M.tolist():
        row: list[Any] = [n]
        if answers.names is not None:
            row.append(answers.names[n])
        if true is not None:
            row.append(_named(true[n], answers.classes))
        row.append(_named(found[n], answers.classes))
        if right_N is not None:
            row.append(bool(right_N[n]))
        numbers = (confidence_N[n], *answers.probabilities_NK[n])
        rows.append([*row, *(round(float(number), DIGITS) for number in numbers)])
    return columns, rows


def _named(answer: np.ndarray, classes: Sequence[str]) -> str:
    if np.ndim(answer) == 0:
        return classes[int(answer)]
    return "|".join(classes[int(k)] for k in np.flatnonzero(answer))
