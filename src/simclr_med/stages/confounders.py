"""Whether an encoder's features tell the columns of dataset.metadata_csv apart, such as the scanner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from simclr_med.evaluation.logistic_path import Labelled
from simclr_med.evaluation.probe import FittedProbe
from simclr_med.metrics.image_values import compute_image_auroc
from simclr_med.metrics.intervals import compute_test_intervals
from simclr_med.stages.subgroups import Metadata, write_columns
from simclr_med.types import Split, Task

LEAST_IMAGES = 10  # of a value in the training and in the test split, to ask whether the features tell it
MOST_VALUES = 20  # of a column that is probed; a column with more is no group

Fit = Callable[[Labelled, Task, int], FittedProbe]


def probe_confounders(folder: Path, metadata: Metadata | None, features: Callable[[Split], Tensor], fit: Fit) -> None:
    """Ask for each column whether a linear classifier can tell its value from the features, and write confounders.csv.

    The classifier is fitted to the training images and scored on the test images, of the values that have
    `LEAST_IMAGES` in both. If it can, a classifier of the disease can use it as well.

    Args:
        folder: of the run.
        metadata: of `load_subgroups`; None writes nothing.
        features: of the images of a split.
        fit: fits the probe to labelled features, with (training set, task, number of classes).
    """
    if metadata is None:
        return
    rows = []
    for column in metadata["test"]:
        train, test = (np.array(metadata[split][column]) for split in ("train", "test"))
        counts = [Counter(values.tolist()) for values in (train, test)]
        shared = sorted(value for value in counts[0] if value and min(c[value] for c in counts) >= LEAST_IMAGES)
        if not 2 <= len(shared) <= MOST_VALUES:
            continue
        task: Task = "binary-class" if len(shared) == 2 else "multi-class"
        sets = []
        for split, values in (("train", train), ("test", test)):
            kept_N = np.isin(values, shared)
            codes_NL = np.searchsorted(shared, values[kept_N])[:, None].astype(np.int64)
            sets.append(Labelled(features(split).numpy()[kept_N], codes_NL))  # type: ignore[arg-type]
        found = fit(sets[0], task, len(shared))
        probabilities_NK = _predict(found, sets[1].features_ND)
        auroc = float(compute_image_auroc(task, sets[1].labels_NL, probabilities_NK).mean())
        low, high = compute_test_intervals(task, sets[1].labels_NL, probabilities_NK, 0, 0)["auroc"]
        rows.append((column, len(shared), len(sets[1].labels_NL), repr(auroc), repr(low), repr(high)))
        print(f"Confounder: the features tell {column} with an AUROC of {auroc:.3f} on test.", flush=True)
    write_columns(folder / "confounders.csv", ["column", "values", "images", "auroc", "low", "high"], rows)


def _predict(found: FittedProbe, features_ND: np.ndarray) -> np.ndarray:
    """Return probabilities [N, K] of the softmax."""
    logits_NK = features_ND.astype(np.float64) @ found.weight_KD.T + found.bias_K
    odds_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return np.asarray(odds_NK / odds_NK.sum(axis=1, keepdims=True))
