"""The values of the main methods over all their label budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.report.budgets import count_labels
from simclr_med.report.designs import MIN_SEEDS, Design, find_distinct_seeds
from simclr_med.report.methods import KINDS, find_main_method, sort_budgets
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.run_values import MethodValues, load_values
from simclr_med.types import Task

Read = Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Point:
    """A method under one label budget.

    Attributes:
        budget: its name.
        labels: that it used, for training and for choices.
        share: of the data set's training images, as in `score_tables.select_scored_runs`.
        design: values of AUROC; all points of a curve have the same encoders, seeds and test images.
    """

    budget: str
    labels: float
    share: float
    design: Design


@dataclass(frozen=True)
class Curve:
    """A method over its label budgets, the smallest first.

    Attributes:
        method: its name.
        points: at least one.
    """

    method: str
    points: tuple[Point, ...]

    def select(self, seeds: set[int]) -> Curve:
        """Return the curve with only these seeds."""
        points = [Point(point.budget, point.labels, point.share, point.design.select(seeds)) for point in self.points]
        return Curve(self.method, tuple(points))

    @property
    def seeds(self) -> set[int]:
        """The label seeds of every point."""
        return set(self.points[0].design.seeds)

    @property
    def has_enough_seeds(self) -> bool:
        """Whether an interval over seeds is possible: `MIN_SEEDS` different ones under some budget."""
        return any(len(find_distinct_seeds(point.design)) >= MIN_SEEDS for point in self.points)


def load_curves(
    rows: pd.DataFrame, notes: list[str], read: Read = read_predictions
) -> dict[tuple[str, str], dict[str, Curve]]:
    """Return (data set, encoder) -> kind -> curve of the main method of each kind.

    Budgets of images per class are left out, and those that choose in another way than most do.

    Args:
        rows: of `score_tables.select_scored_runs`.
        notes: a sentence is appended for each run that cannot be used.
        read: as in `comparisons.compare_methods`.
    """
    curves: dict[tuple[str, str], dict[str, Curve]] = {}
    selected = rows[~rows["budget"].str.startswith("per_class")]
    for (data, encoder), group in selected.groupby(["data", "encoder"]):
        found = {}
        for kind in KINDS:
            method = find_main_method(group, kind)
            curve = None if method is None else _load_curve(group[group["method"] == method], notes, read)
            if curve is not None:
                found[kind] = curve
        curves[str(data), str(encoder)] = found
    return curves


def _load_curve(rows: pd.DataFrame, notes: list[str], read: Read) -> Curve | None:
    """Return the curve of one method, with the seeds of all its budgets; None without a usable budget."""
    is_default = ~rows["budget"].str.contains(" ")
    rows = rows[is_default] if is_default.sum() * 2 >= len(rows) else rows[~is_default]
    method = str(rows["method"].iloc[0])
    values: dict[str, MethodValues] = {}
    for budget in sort_budgets(rows["budget"]):
        loaded = load_values(rows[rows["budget"] == budget], read, notes).get(method)
        if loaded is not None and not np.isnan(loaded.arrange("AUROC", set(loaded.labels)).values_ESN).any():
            values[budget] = loaded
    labels = Counter(digest for loaded in values.values() for digests in loaded.labels.values() for digest in digests)
    if not labels:
        return None
    common = {labels.most_common(1)[0][0]}
    kept = {budget: loaded for budget, loaded in values.items() if set().union(*loaded.labels.values()) == common}
    designs = {budget: loaded.arrange("AUROC", set(loaded.labels)) for budget, loaded in kept.items()}
    encoders = Counter(design.encoders for design in designs.values()).most_common(1)[0][0] if designs else ()
    designs = {budget: design for budget, design in designs.items() if design.encoders == encoders}
    # One budget with few seeds, such as that of an unfinished sweep, would leave few to all others.
    fewest = min(MIN_SEEDS, max((len(design.seeds) for design in designs.values()), default=0))
    designs = {budget: design for budget, design in designs.items() if len(design.seeds) >= fewest}
    seeds = set.intersection(*(set(design.seeds) for design in designs.values())) if designs else set()
    if not seeds:
        return None
    used, shares = count_labels(rows).groupby(rows["budget"]).mean(), rows.groupby("budget")["share"].max()
    points = [
        Point(budget, float(used[budget]), float(shares[budget]), design.select(seeds))
        for budget, design in designs.items()
    ]
    points.sort(key=lambda point: point.labels)
    distinct = [point for number, point in enumerate(points) if number == 0 or point.labels > points[number - 1].labels]
    return Curve(method, tuple(distinct))
