"""Correction of the p-values of several tests, and the level at which each was tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjust_holm(p_values: Sequence[float]) -> np.ndarray:
    """Return the p-values corrected for all tests together (Holm 1979), in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def find_holm_levels(p_values: Sequence[float], alpha: float) -> np.ndarray:
    """Return the confidence level at which Holm's method tests each hypothesis, in the given order.

    The test with the k-th smallest of m p-values is tested at alpha / (m - k + 1). After the first test that is not
    rejected, all tests keep its level. So an interval of this level excludes the hypothesis if, and only if, the
    corrected p-value is at most alpha.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = alpha / np.arange(len(p), 0, -1)
    rejected = int(np.logical_and.accumulate(p[order] <= steps).sum())
    levels = np.empty(len(p))
    levels[order] = 1 - steps[np.minimum(np.arange(len(p)), rejected)]
    return levels
