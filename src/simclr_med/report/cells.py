"""Mean scores of the runs that differ only in seed and encoder, with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from simclr_med.metrics.crossed import Estimate, Term, encoder_term, seed_term
from simclr_med.metrics.intervals import LEVEL, logit_interval, wilson_interval
from simclr_med.report.budgets import count_labels
from simclr_med.report.designs import MIN_SEEDS, Design, arrange_runs

CELL_NOTE = (
    "Mean [95 % confidence interval] (population). The interval covers new test images and the stated seeds and "
    "encoders: “3 encoders x 5 seeds” describes the method, “1 encoder x 5 seeds” this encoder only, “5 seeds” a "
    "method whose encoder varies with the seed, “1 run” this run only. Runs that are "
    "identical under all seeds count once. Seeds or encoders that are not complete are left out. With fewer than "
    "3 seeds, the cell lists the values and has no interval."
)
NONE = "\N{EN DASH}"  # shown in a cell without a number
PARTS = ("mean", "low", "high", "runs", "population", "values")  # columns of a metric
_MANY_IMAGES = 1e6  # degrees of freedom of an interval over test images that a run recorded
_MAX_LISTED = 4  # values in a cell without an interval
_FACTS = ("start", "seed", "share", "intervals", "test_images", "class_counts")  # of a run, besides its scores
_IDENTIFYING = ("test/nll", "test/auroc", "test/accuracy")  # scores in which different runs differ


def summarise_cells(rows: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Return mean and confidence interval of each metric over the runs with equal values in the columns of by.

    Returns:
        the columns of by, ``images`` (mean number of labels used), ``runs``,
        and for each metric its name with each of `PARTS`. low and high are NaN where there is no interval. Runs without
        a metric do not count in its mean and its runs.
    """
    records = []
    read = rows.columns.intersection([*_FACTS, *_IDENTIFYING, *metrics])  # faster: there are hundreds of columns
    for key, group in rows.groupby(list(by), sort=False, dropna=False):
        row: dict[str, object] = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        row |= {"images": float(count_labels(group).mean()), "runs": len(group)}
        runs = group[read].to_dict("records")
        for metric in metrics:
            known = [run for run in runs if not np.isnan(run.get(metric, np.nan))]
            row |= dict(zip((f"{metric} {part}" for part in PARTS), _summarise(known, metric), strict=True))
        records.append(row)
    columns = [*by, "images", "runs", *(f"{metric} {part}" for metric in metrics for part in PARTS)]
    return pd.DataFrame(records, columns=columns)


def format_cell(values: Mapping[Any, Any], metric: str) -> str:
    """Return a cell: ``0.812 [0.790, 0.832] (3 encoders x 5 seeds)``, or the values where it has no interval."""
    mean, low, high, _, population, listed = (values[f"{metric} {part}"] for part in PARTS)
    if np.isnan(mean):
        return NONE
    if not np.isnan(low):
        return f"{mean:.3f} [{low:.3f}, {high:.3f}] ({population})"
    numbers = [f"{float(value):.3f}" for value in str(listed).split()]
    text = ", ".join(numbers) if len(numbers) <= _MAX_LISTED else f"{min(numbers)} to {max(numbers)}"
    return f"{text} ({population})"


def _summarise(runs: Sequence[Mapping[Any, Any]], metric: str) -> tuple[float, float, float, int, str, str]:
    """Return the `PARTS` of one metric of one cell."""
    if not runs:
        return np.nan, np.nan, np.nan, 0, "", ""
    values: dict[tuple[str, int], list[list[float]]] = {}
    for run in runs:
        # Different runs may have one score in common, such as a recall of 0. They are identical if all these are.
        scores = [run[metric], *(run.get(name, np.nan) for name in _IDENTIFYING)]
        values.setdefault((str(run["start"]), int(run["seed"])), []).append(np.nan_to_num(scores).tolist())
    design = arrange_runs({key: np.mean(same, axis=0) for key, same in values.items()})
    scores_ES = design.values_ESN[:, :, 0]
    low, high = _compute_interval(design, runs, metric)
    listed = " ".join(f"{value:.6f}" for value in np.unique(scores_ES))
    return float(scores_ES.mean()), low, high, len(runs), design.describe(), listed


def _compute_interval(design: Design, runs: Sequence[Mapping[Any, Any]], metric: str) -> tuple[float, float]:
    """Return the interval of a cell; NaN where there are too few runs or a run did not record what it needs."""
    bounds = [_find_image_interval(run, metric) for run in runs]
    scores_ES = design.values_ESN[:, :, 0]
    score = float(scores_ES.mean())
    lows, highs = np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])
    if design.distinct_runs > 1 and (design.replicates < MIN_SEEDS or np.isnan(lows).any()):
        return np.nan, np.nan
    if design.distinct_runs == 1 or not 0 < score < 1:
        return float(lows.min()), float(highs.max())
    errors = (highs - lows) / (2 * NormalDist().inv_cdf((1 + LEVEL) / 2))
    estimate = Estimate(
        mean=score,
        images=Term(float((errors**2).mean()), _MANY_IMAGES),
        seeds=seed_term(scores_ES.mean(axis=0), max(float(run["share"]) for run in runs)),
        encoders=encoder_term(scores_ES.mean(axis=1)),
    )
    return logit_interval(score, estimate.half_width(LEVEL))


def _find_image_interval(run: Mapping[Any, Any], metric: str) -> tuple[float, float]:
    """Return the interval over test images: as the run recorded it, or Wilson's for a fraction of counted images."""
    recorded = run["intervals"].get(metric)
    if recorded is not None and recorded[0] < recorded[1]:
        return float(recorded[0]), float(recorded[1])
    return wilson_interval(float(run[metric]), count) if (count := _count_images(run, metric)) else (np.nan, np.nan)


def _count_images(run: Mapping[Any, Any], metric: str) -> int:
    """Return the number of test images that a score is a fraction of; 0 where it is not a fraction or not known."""
    name = metric.removeprefix("test/")
    if name in ("accuracy", "knn_accuracy"):
        return int(run["test_images"])
    if name.startswith("recall/") and int(name.removeprefix("recall/")) < len(run["class_counts"]):
        return int(run["class_counts"][int(name.removeprefix("recall/"))])
    return 0
