"""Scores of finished runs on a part of their test images, from their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.classification import calibration_error, split_binary_problems
from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc
from simclr_med.metrics.intervals import compute_test_intervals, interval_of_auroc
from simclr_med.types import MULTI_LABEL, Task

Read = Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]]
_KEPT = ("folder", "data", "encoder", "kind", "method", "budget", "start", "seed", "share", "predictions_hash")
_LABELS = ("train/images", "val/images", "budget/labels")


def score_part(
    rows: pd.DataFrame,
    parts: Mapping[str, np.ndarray],
    read: Read,
    notes: list[str],
    select: Callable[[np.ndarray], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return the runs with their scores on a part of their test images.

    Args:
        rows: of `score_tables.select_scored_runs`.
        parts: data hash -> whether a test image belongs to the part, bool [N]. Runs on other data are left out.
        read: as in `comparisons.compare_methods`.
        notes: a sentence is appended for each run that cannot be used.
        select: from the truth of all test images, bool [N, M], to the binary problems whose mean is AUROC, bool [M];
            None takes all. AUROC is NaN without any.

    Returns:
        the columns that `cells.summarise_cells` needs, with test/auroc, test/accuracy and test/calibration_error of
        the part, and ``problems``: the number of binary problems.
    """
    records = []
    kept = rows.columns.intersection([*_KEPT, *_LABELS])
    for row, data_hash in zip(rows[kept].to_dict("records"), rows["data_hash"], strict=True):
        part_N = parts.get(str(data_hash))
        if part_N is None or not part_N.any():
            continue
        path, recorded = Path(row["folder"]) / "predictions.npz", row.get("predictions_hash")
        try:
            task, labels_NL, probabilities_NK = read(path, recorded if isinstance(recorded, str) else None)
        except (ValueError, IndexError) as error:
            notes.append(f"{error} Not scored on a part of the test images.")
            continue
        if len(labels_NL) != len(part_N):
            notes.append(
                f"{path}: has {len(labels_NL)} test images and not {len(part_N)}. Not scored on a part of them."
            )
            continue
        labels, probabilities = labels_NL[part_N], probabilities_NK[part_N]
        truth_NM, score_NM = split_binary_problems(task, labels_NL, probabilities_NK)
        chosen_M = np.ones(truth_NM.shape[1], dtype=bool) if select is None else select(truth_NM)
        # The chosen problems as a task of several labels, whose AUROC is the mean over them.
        auroc_N = compute_image_auroc(MULTI_LABEL, truth_NM[part_N][:, chosen_M], score_NM[part_N][:, chosen_M])
        found = compute_test_intervals(task, labels, probabilities, 0, 0)
        found["auroc"] = interval_of_auroc(auroc_N)
        records.append(
            row
            | {
                "test/auroc": float(auroc_N.mean()),
                "test/accuracy": float(compute_image_accuracy(task, labels, probabilities).mean()),
                "test/calibration_error": calibration_error(task, labels, probabilities),
                "intervals": {f"test/{name}": interval for name, interval in found.items()},
                "test_images": len(labels),
                "class_counts": (),
                "problems": int(chosen_M.sum()),
            }
        )
    return pd.DataFrame(records)
