"""Score a trained model on the test split, after every choice is made."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simclr_med.atomic import write_bytes
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.evaluation.predictions import Predictions
from simclr_med.metrics import classification, intervals
from simclr_med.types import SPLITS, Split, Task

BOOTSTRAP_SEED = 0


class Validated(NamedTuple):
    """A model's output for the labelled images that chose its epoch or its regularisation strength.

    The report scales the temperature of the probabilities by it, and calibrates prediction sets.

    Attributes:
        probabilities_MK: float32.
        labels_ML: int64 in medmnist's layout.
    """

    probabilities_MK: np.ndarray
    labels_ML: np.ndarray


@dataclass(frozen=True)
class Scored:
    """The scores of one model on one split.

    Attributes:
        metrics, intervals: by ``split/metric``; a metric that is not defined is left out.
        tables: confusion matrix, reliability bins, recall by class name.
        notes: sentences that a reader of the numbers needs.
        predictions: that were scored; None where the numbers come from elsewhere.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    tables: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    predictions: Predictions | None = None

    def with_metrics(self, more: Mapping[str, float]) -> Scored:
        """The same with further metrics, those that are numbers."""
        return replace(self, metrics={**self.metrics, **{k: v for k, v in more.items() if not math.isnan(v)}})


def require_task(source: Source, stage: str) -> Task:
    """What the labels mean.

    Raises:
        DataError: there are none.
    """
    if source.task is None:
        raise DataError(f"dataset={source.name}: labels are required for stage={stage}. Add them to the data.")
    return source.task


def require_labels(source: Source, stage: str, splits: Sequence[Split] = SPLITS) -> Task:
    """Check that the splits have what a supervised stage needs, before anything is trained; return the task.

    Only the presence of images and labels is checked: no label is read.

    Raises:
        DataError: a split without images or labels, or fewer than two classes.
    """
    task, labelled = require_task(source, stage), source.labelled_splits()
    lacking = [split for split in splits if split not in labelled]
    if lacking:
        remedy = ", or use data_fraction.validation=within" if lacking == ["val"] else ""
        raise DataError(
            f"dataset={source.name}: images and labels in {', '.join(splits)} are required for stage={stage}; missing "
            f"in {', '.join(lacking)}. Add them to the data{remedy}."
        )
    if len(source.classes) < 2:
        raise DataError(
            f"dataset={source.name}: two classes or more are required for stage={stage}, found {source.classes[0]} "
            "alone. Add images of another class."
        )
    return task


def count_labels(trained: int, chosen_by: int) -> dict[str, float]:
    """Return the metrics that say how many labels a result used.

    Args:
        trained: labelled images that the classifier was fitted to.
        chosen_by: further labelled images, which chose the epoch or the regularisation strength.
    """
    return {"train/images": trained, "val/images": chosen_by, "budget/labels": trained + chosen_by}


def load_labels(source: Source, split: Split, stage: str) -> np.ndarray:
    """The labels of a split, int64 [N, L].

    Raises:
        DataError: there are none.
    """
    labels = source.labels(split)
    if labels is None:
        raise DataError(f"dataset={source.name}: {split} labels are required for stage={stage}. Add them to the data.")
    return labels


def score_test_split(
    source: Source,
    trained_NL: np.ndarray | None,
    predict: Callable[[], np.ndarray],
    folder: Path,
    resamples: int,
    notes: Sequence[str] = (),
    validated: Validated | None = None,
) -> Scored:
    """Score a finished model on the test split, and keep its probabilities in folder/predictions.npz.

    Args:
        source: the data set; its test split is opened here, after every choice is made.
        trained_NL: labels that the model was trained on, to name the classes it has not seen; None when not known.
        predict: opens the test images and returns their probabilities, float32 [N, K].
        folder: of the run.
        resamples: of the test images, for the intervals of balanced accuracy and macro F1; 0 gives none.
        notes: sentences about the run that belong to its numbers.
        validated: the model's output for the images that chose it; None where nothing was chosen.
    """
    labels_NL = load_labels(source, "test", "test")
    probabilities_NK = predict()
    task = require_task(source, "test")
    save_predictions(folder / "predictions.npz", task, probabilities_NK, labels_NL, source.classes, validated)
    scored = score_predictions(task, labels_NL, probabilities_NK, source.classes, trained_NL, resamples)
    for note in scored.notes:
        print(note, flush=True)
    predictions = Predictions(task, tuple(source.classes), probabilities_NK, labels_NL, source.names("test"))
    return replace(scored, tables=scored.tables | {"notes": [*notes, *scored.notes]}, predictions=predictions)


def score_predictions(
    task: Task,
    labels_NL: np.ndarray,
    probabilities_NK: np.ndarray,
    classes: Sequence[str],
    trained_NL: np.ndarray | None,
    resamples: int,
) -> Scored:
    """All scores of the test split's probabilities, named as they are recorded."""
    values = classification.compute_scores(task, labels_NL, probabilities_NK)
    each = classification.auroc_per_class(task, labels_NL, probabilities_NK)
    notes = []
    missing = [classes[int(m)] for m in np.flatnonzero(np.isnan(each))] if len(each) == len(classes) else []
    if missing:
        names = ", ".join(missing)
        notes.append(f"AUROC of {names} is not defined by the test labels; test/auroc is the mean over the others.")
    unseen = _unseen(task, trained_NL, len(classes)) if trained_NL is not None else []
    if unseen:
        names = ", ".join(classes[k] for k in unseen)
        notes.append(
            f"no training image of {names} in this subset: its scores mean nothing and pull test/auroc towards 0.5; "
            "test/auroc_trained_classes is the mean over the others."
        )
        if len(each) == len(classes):
            rest = np.delete(each, unseen)
            values["auroc_trained_classes"] = float(np.nanmean(rest)) if not np.isnan(rest).all() else math.nan
    found = intervals.compute_test_intervals(task, labels_NL, probabilities_NK, resamples, BOOTSTRAP_SEED)
    bins = classification.reliability_bins(task, labels_NL, probabilities_NK)
    tables = {
        "classes": list(classes),
        "confusion_matrix": classification.confusion_matrix(task, labels_NL, probabilities_NK),
        "reliability": {name: [None if math.isnan(x) else x for x in column] for name, column in bins.items()},
    }
    metrics = {f"test/{name}": value for name, value in values.items() if not math.isnan(value)}
    if trained_NL is not None:
        metrics["train/missing_classes"] = len(unseen)
    return Scored(
        metrics,
        {f"test/{name}": interval for name, interval in found.items()},
        tables,
        notes,
    )


def save_predictions(
    path: Path,
    task: Task,
    probabilities_NK: np.ndarray,
    labels_NL: np.ndarray,
    classes: Sequence[str],
    validated: Validated | None = None,
) -> None:
    """Save probabilities float32 [N, K], labels int64 [N, L], classes and task; equal values give equal bytes.

    val_probabilities and val_labels are those of ``validated``.
    """
    arrays = {
        "probabilities": probabilities_NK,
        "labels": labels_NL,
        "classes": np.array(list(classes)),
        "task": np.array(task),
    }
    if validated is not None:
        arrays |= {"val_probabilities": validated.probabilities_MK, "val_labels": validated.labels_ML}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the arrays for allow_pickle
    write_bytes(path, content.getvalue())


def summary_rows(scored: Scored) -> dict[str, str]:
    """The rows of the summary: each main score with its interval, and what the interval is."""
    words = {
        "accuracy": "accuracy",
        "auroc": "AUROC",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "calibration_error": "calibration error",
    }
    rows = {}
    for name, word in words.items():
        value, interval = scored.metrics.get(f"test/{name}"), scored.intervals.get(f"test/{name}")
        if value is not None:
            interval_text = f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            rows[f"test {word}"] = f"{value:.3f}{interval_text}"
    return rows | ({"in brackets": "95 % interval over test images"} if scored.intervals else {})


def _unseen(task: Task, trained_NL: np.ndarray, classes: int) -> list[int]:
    if trained_NL.shape[1] > 1:
        return [int(k) for k in np.flatnonzero(trained_NL.sum(axis=0) == 0)]
    return sorted(set(range(classes)) - set(trained_NL[:, 0].tolist()))
