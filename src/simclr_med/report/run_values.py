"""The test images' values of the runs of each method, from their predictions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc, count_rarest
from simclr_med.report.designs import Design, arrange_runs
from simclr_med.types import Task

_COMPUTE: dict[str, Callable[[Task, np.ndarray, np.ndarray], np.ndarray]] = {
    "AUROC": compute_image_auroc,
    "accuracy": compute_image_accuracy,
}
_METRICS = {"AUROC": "test/auroc", "accuracy": "test/accuracy"}


@dataclass
class MethodValues:
    """The runs of one method under one label budget.

    Attributes:
        runs: score -> (encoder, seed) -> values [N] of each run with them.
        labels: digests of the test labels by seed; several in all where the runs have other test images.
        rarest: smallest number of test images with or without a class.
    """

    runs: dict[str, dict[tuple[str, int], list[np.ndarray]]] = field(default_factory=dict)
    labels: dict[int, set[str]] = field(default_factory=dict)
    rarest: int = 0

    def arrange(self, score: str, seeds: Collection[int]) -> Design:
        """Return the runs of these seeds as a table.

        Several runs of one encoder and seed enter with their mean; identical ones count once.
        """
        distinct = {
            key: list({values_N.tobytes(): values_N for values_N in same}.values())
            for key, same in self.runs[score].items()
            if key[1] in seeds
        }
        return arrange_runs({key: np.mean(same, axis=0) for key, same in distinct.items()})


def load_values(
    rows: pd.DataFrame, read: Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]], notes: list[str]
) -> dict[str, MethodValues]:
    """Return method -> values of its runs; append to notes the runs that cannot be used.

    Args:
        rows: the runs under one label budget.
        read: as `prediction_files.read_predictions`.
        notes: of the report.
    """
    methods: dict[str, MethodValues] = {}
    columns = ["folder", "predictions_hash", "method", "seed", "start", *_METRICS.values()]
    for row in rows[rows.columns.intersection(columns)].to_dict("records"):
        path, recorded = Path(row["folder"]) / "predictions.npz", row.get("predictions_hash")
        try:
            task, labels, probabilities = read(path, recorded if isinstance(recorded, str) else None)
            scores = {score: compute(task, labels, probabilities) for score, compute in _COMPUTE.items()}
            rarest = count_rarest(task, labels, probabilities)
        except (ValueError, IndexError) as error:
            notes.append(f"{error} Not compared.")
            continue
        if len(labels) < 2:
            notes.append(f"{path}: holds fewer than 2 test images. Not compared.")
            continue
        wrong = [score for score, name in _METRICS.items() if abs(scores[score].mean() - row.get(name, np.nan)) > 1e-9]
        if wrong:
            notes.append(f"{path}: its {' and '.join(wrong)} differs from the one in result.json. Not compared.")
            continue
        method = methods.setdefault(str(row["method"]), MethodValues(rarest=rarest))
        digest = f"{labels.shape}{hash(np.ascontiguousarray(labels).tobytes())}"
        method.labels.setdefault(int(row["seed"]), set()).add(digest)
        for score, values_N in scores.items():
            method.runs.setdefault(score, {}).setdefault((str(row["start"]), int(row["seed"])), []).append(values_N)
    return methods
