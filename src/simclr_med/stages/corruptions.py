"""The scores of a classifier on corrupted images: its test images after each corruption at five severities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med.config.corruptions import SEVERITIES, find_family, list_strengths
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Test
from simclr_med.corruptions.table import COLOUR_ONLY, corrupt
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError
from simclr_med.metrics import classification
from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc
from simclr_med.metrics.intervals import interval_of_auroc, interval_of_images
from simclr_med.stages.subgroups import write_columns
from simclr_med.types import Task

FILE = "corruptions.csv"
CLEAN = "none"  # name of the row of clean images, with severity 0
_CHUNK = 256  # images that are corrupted at once; affects memory only
_SCORES = ("accuracy", "auroc", "balanced_error")

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CorruptedScores:
    """What `score_corruptions` finds.

    Attributes:
        metrics: ``test/corrupted_<score>``, the mean over corruptions and severities, and ``.../<severity>``.
        intervals: of accuracy and AUROC, over test images.
        rows: of corruptions.csv: corruption, severity and the scores.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    rows: list[tuple[Any, ...]]

    def summary_rows(self) -> dict[str, str]:
        """Return the rows of the summary: AUROC by severity, and the means over all corrupted images."""
        by_severity = [self.metrics[f"test/corrupted_auroc/{severity}"] for severity in range(1, SEVERITIES + 1)]
        return {
            "corrupted images, accuracy": f"{self.metrics['test/corrupted_accuracy']:.3f}",
            "corrupted images, AUROC": f"{self.metrics['test/corrupted_auroc']:.3f}",
            "AUROC by severity 1 to 5": "  ".join(f"{value:.3f}" for value in by_severity),
        }

    def save(self, folder: Path) -> Path:
        """Write corruptions.csv and return its path."""
        write_columns(folder / FILE, ["corruption", "severity", *_SCORES], self.rows)
        return folder / FILE


def check_corruptions(cfg: Config[Test], source: Source) -> None:
    """Check that the corruptions can be applied to the images, before anything is scored.

    Raises:
        ConfigError: the images are neither grey nor RGB, or a corruption changes colours and they are grey.
    """
    if cfg.stage.corruptions and source.channels not in (1, 3):
        raise ConfigError(
            f"stage.corruptions=true: defined for grey and RGB images; those of dataset={source.name} have "
            f"{source.channels} channels. Remove it."
        )
    family = find_family(cfg.stage, cfg.dataset.name)
    colourful = [name for name in COLOUR_ONLY if name in cfg.stage.families[family]]
    if cfg.stage.corruptions and colourful and source.channels == 1:
        raise ConfigError(
            f"stage.family={family}: {', '.join(colourful)} changes colours, and the images of dataset={source.name} "
            "are grey. Choose another family."
        )


def score_corruptions(
    cfg: Config[Test],
    task: Task,
    images_NHWC: np.ndarray,
    labels_NL: np.ndarray,
    predict: Predict,
    device: torch.device,
) -> CorruptedScores:
    """Score the test images after each corruption at each severity.

    Args:
        cfg: of the run.
        task, labels_NL: of the test split.
        images_NHWC: uint8, of the test split.
        predict: uint8 images to probabilities [N, K].
        device: that corrupts the images.
    """
    strengths = list_strengths(cfg.stage.families[find_family(cfg.stage, cfg.dataset.name)])
    rows: list[tuple[Any, ...]] = [(CLEAN, 0, *_score(task, labels_NL, predict(images_NHWC)).values())]
    values: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    with show_progress("Scoring corrupted images", "images") as show:
        for number, (name, severity, strength) in enumerate(strengths):
            parts = []
            for start in range(0, len(images_NHWC), _CHUNK):
                part = images_NHWC[start : start + _CHUNK]
                numbers = range(start, start + len(part))
                parts.append(predict(corrupt(part, numbers, name, severity, strength, cfg.seed, device)))
                show(number * len(images_NHWC) + start + len(part), len(strengths) * len(images_NHWC))
            probabilities_NK = np.concatenate(parts)
            rows.append((name, severity, *_score(task, labels_NL, probabilities_NK).values()))
            values["accuracy", severity].append(compute_image_accuracy(task, labels_NL, probabilities_NK))
            values["auroc", severity].append(compute_image_auroc(task, labels_NL, probabilities_NK))
    return CorruptedScores(_average(rows[1:]), _find_intervals(values), rows)


def _score(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> dict[str, float]:
    """Return the scores of `_SCORES`, in this order."""
    return {
        "accuracy": classification.accuracy(task, labels_NL, probabilities_NK),
        "auroc": classification.auroc(task, labels_NL, probabilities_NK),
        "balanced_error": 1 - classification.balanced_accuracy(task, labels_NL, probabilities_NK),
    }


def _average(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Return the mean of each score over all rows, and over the corruptions of each severity."""
    metrics = {}
    for column, score in enumerate(_SCORES, 2):
        metrics[f"test/corrupted_{score}"] = float(np.mean([row[column] for row in rows]))
        for severity in range(1, SEVERITIES + 1):
            found = [row[column] for row in rows if row[1] == severity]
            metrics[f"test/corrupted_{score}/{severity}"] = float(np.mean(found))
    return metrics


def _find_intervals(values: Mapping[tuple[str, int], Sequence[np.ndarray]]) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals over test images; the values of an image are averaged over corruptions first."""
    compute = {"accuracy": interval_of_images, "auroc": interval_of_auroc}
    means = {key: np.mean(each, axis=0) for key, each in values.items()}
    intervals = {}
    for score, find in compute.items():
        by_severity = {f"/{severity}": mean_N for (name, severity), mean_N in means.items() if name == score}
        by_severity[""] = np.mean(list(by_severity.values()), axis=0)
        for ending, mean_N in by_severity.items():
            if not np.isnan(mean_N).any():
                intervals[f"test/corrupted_{score}{ending}"] = find(mean_N)
    return intervals
