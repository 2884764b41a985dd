"""The tables of a run's result.json: class names, confusion matrix and reliability bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np

from simclr_med.runs.fields import LONGEST_NAME, Fields, make_printable

MOST_CLASSES = 10_000
MOST_IN_SQUARE = 1_000  # classes of a matrix [K, K]; its file has 20 MiB
MOST_BINS = 1_000
MOST_COUNTED = 2**40  # images of one run


@dataclass(frozen=True)
class Reliability:
    """Calibration of a run's predictions in bins of their confidence; one value per bin.

    Attributes:
        count: predictions.
        confidence, accuracy: means in [0, 1]; NaN in an empty bin.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True)
class ResultTables:
    """What a scored run records besides its metrics.

    Attributes:
        classes: names by label.
        confusion_matrix: counts [K, K], or [K, 2, 2] of a multi-label set; None where the run has none.
        reliability: None where the run has none.
    """

    classes: tuple[str, ...] = ()
    confusion_matrix: np.ndarray | None = None
    reliability: Reliability | None = None

    def count_by_class(self) -> tuple[int, ...]:
        """Return the test images of each class, or with each label; empty without a confusion matrix."""
        matrix = self.confusion_matrix
        if matrix is None:
            return ()
        positives = matrix[:, 1] if matrix.ndim == 3 else matrix
        return tuple(map(int, positives.sum(axis=1)))

    def count_images(self) -> int:
        """Return the number of test images; 0 without a confusion matrix."""
        matrix = self.confusion_matrix
        if matrix is None or not matrix.size:
            return 0
        return int(matrix[0].sum() if matrix.ndim == 3 else matrix.sum())


def parse_tables(tables: Fields) -> ResultTables:
    """Return the tables.

    Raises:
        ValueError: a field has another type, shape or range, or does not fit the number of classes. Names the field.
    """
    classes = _parse_classes(tables) if "classes" in tables.content else ()
    matrix = _parse_matrix(tables, len(classes)) if "confusion_matrix" in tables.content else None
    bins = _parse_reliability(tables.fields("reliability")) if "reliability" in tables.content else None
    return ResultTables(classes, matrix, bins)


def _parse_classes(tables: Fields) -> tuple[str, ...]:
    names = tables.items("classes")
    if len(names) > MOST_CLASSES:
        raise ValueError(f"tables.classes: {len(names)} names: expected at most {MOST_CLASSES}")
    for number, name in enumerate(names):
        if not isinstance(name, (str, int)) or len(str(name)) > LONGEST_NAME:
            raise ValueError(f"tables.classes: name {number}: expected a text of at most {LONGEST_NAME} characters")
    return tuple(make_printable(str(name)) for name in names)


def _parse_matrix(tables: Fields, classes: int) -> np.ndarray:
    """Return the counts, int64. Types and shape are checked before numpy sees them: it would convert or overflow."""
    rows = tables.items("confusion_matrix")
    expected = ValueError(f"tables.confusion_matrix: expected counts [{classes}, {classes}] or [{classes}, 2, 2]")
    if len(rows) != classes or not all(isinstance(row, list) for row in rows):
        raise expected
    is_multi_label = any(isinstance(row[0], list) for row in rows if row)
    if is_multi_label:
        pairs = list(chain.from_iterable(rows))
        if len(pairs) != 2 * classes or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise expected
        counts = list(chain.from_iterable(pairs))
    else:
        if classes > MOST_IN_SQUARE:
            raise ValueError(f"tables.classes: {classes} names: expected at most {MOST_IN_SQUARE}")
        if any(len(row) != classes for row in rows):
            raise expected
        counts = list(chain.from_iterable(rows))
    if set(map(type, counts)) - {int} or (counts and not 0 <= min(counts) <= max(counts) <= MOST_COUNTED):
        raise ValueError(f"tables.confusion_matrix: expected integers from 0 to {MOST_COUNTED}")
    return np.array(counts, dtype=np.int64).reshape((classes, 2, 2) if is_multi_label else (classes, classes))


def _parse_reliability(bins: Fields) -> Reliability:
    columns = [
        _parse_bins(bins, key, high) for key, high in (("count", MOST_COUNTED), ("confidence", 1), ("accuracy", 1))
    ]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("tables.reliability: expected columns of equal length")
    return Reliability(*columns)


def _parse_bins(bins: Fields, key: str, high: float) -> np.ndarray:
    """Return one column, float64; null becomes NaN. Means of rounded numbers may exceed 1 by rounding."""
    values = bins.items(key)
    for value in values[:MOST_BINS]:
        if value is not None and (type(value) not in (int, float) or not 0 <= value <= high * (1 + 1e-6)):
            raise ValueError(f"tables.reliability.{key}: expected numbers from 0 to {high}")
    if len(values) > MOST_BINS:
        raise ValueError(f"tables.reliability.{key}: {len(values)} bins: expected at most {MOST_BINS}")
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
