"""The metrics of a run, and their intervals, as result.json records them."""

from __future__ import annotations

import math

from simclr_med.runs.fields import LONGEST_NAME, Fields, make_printable
from simclr_med.runs.settings import MOST_IMAGES

MOST_METRICS = 1_000  # of a run, besides those of each class
SPLITS = ("train", "val", "test")
# Metrics of a split that are fractions, by the part of their name after the split.
FRACTIONS = (
    "accuracy",
    "auroc",
    "auroc_trained_classes",
    "balanced_accuracy",
    "calibration_error",
    "corrupted_accuracy",
    "corrupted_auroc",
    "corrupted_balanced_error",
    "knn_accuracy",
    "knn_accuracy_before",
    "knn_auroc",
    "macro_f1",
    "ood_energy",
    "ood_knn",
    "ood_mahalanobis",
    "probe_auroc",
    "probe_auroc_before",
    "recall",
    "top1",
    "top5",
)


def parse_metrics(metrics: Fields) -> dict[str, float]:
    """Return the metrics by ``split/metric``; NaN where the recorded value is not finite.

    Raises:
        ValueError: a name is not of this form, a value is no number, or a fraction is outside [0, 1].
    """
    count = sum(name.count("/") < 2 and name.partition("/")[0] in SPLITS for name in metrics.content)
    if count > MOST_METRICS:
        raise ValueError(f"metrics: {count} entries: expected at most {MOST_METRICS} besides those of each class")
    found = {}
    for name, value in metrics.content.items():
        split, _, metric = name.partition("/")
        if not split or not metric or len(name) > 2 * LONGEST_NAME:
            raise metrics.error(name, "a metric named <split>/<metric>")
        if isinstance(value, float) and not math.isfinite(value):
            found[make_printable(name)] = math.nan
        elif split in SPLITS and metric.partition("/")[0] in FRACTIONS:
            found[make_printable(name)] = metrics.number(name, 0, 1)
        elif name == "train/images":
            found[name] = metrics.number(name, 1, MOST_IMAGES)
        else:
            found[make_printable(name)] = metrics.number(name)
    return found


def parse_intervals(recorded: Fields) -> dict[str, tuple[float, float]]:
    """Return the intervals of metrics in [0, 1] whose bounds are finite.

    Raises:
        ValueError: an interval is no pair of numbers, or its bounds are not in order.
    """
    if not recorded.has("intervals"):
        return {}
    intervals, found = recorded.fields("intervals"), {}
    for name in intervals.content:
        bounds = intervals.items(name)
        if len(bounds) != 2 or not all(type(bound) in (int, float) for bound in bounds):
            raise intervals.error(name, "two numbers")
        low, high = map(float, bounds)
        if math.isfinite(low) and math.isfinite(high):
            if low > high:
                raise intervals.error(name, "two numbers in order")
            found[make_printable(name)] = (low, high)
    return found
