"""The report's figures of the main methods: confusion matrices and calibration."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simclr_med.plots.style import line_style
from simclr_med.report.methods import select_main_runs
from simclr_med.report.result_tables import Reliability
from simclr_med.report.results import DamagedRunError, read_tables
from simclr_med.report.score_figures import Chart

_MAX_CLASSES_WITH_NUMBERS = 10  # with more classes the numbers in a matrix are too small to read
_MAX_CLASSES_WITH_NAMES = 100  # with more classes their names overlap
# Predictions per run in a bin that is drawn. The seeds share their images, so more runs do not make up for few images.
_MIN_PREDICTIONS = 10


@dataclass(frozen=True)
class RunTables:
    """The tables of one run that are drawn."""

    classes: tuple[str, ...]
    confusion_matrix: np.ndarray
    reliability: Reliability

    @property
    def layout(self) -> tuple[object, ...]:
        """What tables must share to be pooled."""
        return self.classes, self.confusion_matrix.shape, len(self.reliability.count)


class MainMethods(NamedTuple):
    """The main methods of one data set and encoder.

    Attributes:
        data, encoder: their names.
        panels: (method and budget, tables that its runs recorded); all tables have the same layout.
    """

    data: str
    encoder: str
    panels: list[tuple[str, list[RunTables]]]


def read_main_methods(rows: pd.DataFrame, notes: list[str]) -> list[MainMethods]:
    """Read the tables of the runs that represent their methods in the figures by class.

    The budget is the largest that all main methods share; where they share none, the largest of each. Only tables with
    the classes and bins of most runs are kept.

    Args:
        rows: of `score_tables.select_scored_runs`.
        notes: a sentence is appended for each run that is left out.
    """
    groups = []
    for (data, encoder), group in rows.groupby(["data", "encoder"]):
        panels: list[tuple[str, list[tuple[Path, RunTables]]]] = []
        for runs in select_main_runs(group):
            method, budget = runs[["method", "budget"]].iloc[0]
            folders = map(Path, runs["folder"])
            tables = [(folder, found) for folder in folders if (found := _read_run_tables(folder, notes)) is not None]
            panels.append((f"{method}, {budget}", tables))
        if kept := _keep_common(panels, str(data), notes):
            groups.append(MainMethods(str(data), str(encoder), kept))
    return groups


def plot_confusion_matrices(groups: Sequence[MainMethods]) -> list[Chart]:
    """Draw the confusion matrix of each kind's main method with the largest budget; multi-label sets have none."""
    charts = []
    for data, encoder, panels in groups:
        matrices = [(label, np.sum([table.confusion_matrix for table in tables], axis=0)) for label, tables in panels]
        matrices = [(label, matrix) for label, matrix in matrices if matrix.ndim == 2]  # else multi-label
        if not matrices:
            continue
        classes = panels[0][1][0].classes
        side, across = min(6.0, max(2.6, 0.42 * len(classes) + 1.0)), min(2, len(matrices))
        down = -(-len(matrices) // across)
        figure = Figure(figsize=(side * across + 1.6, 0.88 * side * down + 1.2), layout="constrained", dpi=150)
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axis, (label, matrix) in zip(axes.ravel()[: len(matrices)], matrices, strict=True):
            image = _draw_matrix(axis, matrix, classes)
            axis.set_title("\n".join(textwrap.wrap(label, 38)), fontsize=9)
        for axis in axes.ravel()[len(matrices) :]:
            axis.axis("off")
        figure.supylabel("true class", fontsize=10)
        figure.supxlabel("predicted class", fontsize=10)
        figure.colorbar(image, ax=axes, label="fraction of the true class", shrink=0.7)
        note = "Percentages of each true class; a row sums to 100. The predictions of all seeds are pooled."
        charts.append(Chart(f"confusion_{data}_{encoder}", f"Confusion matrices: {data}, {encoder}", note, figure))
    return charts


def plot_reliability(groups: Sequence[MainMethods]) -> list[Chart]:
    """Draw accuracy over confidence of the same methods."""
    charts = []
    for data, encoder, panels in groups:
        figure = Figure(figsize=(5.6, 5.0), layout="constrained", dpi=150)
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":", label="perfect calibration")
        for number, (label, tables) in enumerate(panels):
            confidence, accuracy = _pool_bins([table.reliability for table in tables])
            axis.plot(confidence, accuracy, label=label, **line_style(number))
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
        note = (
            f"Bins of equal width with at least {_MIN_PREDICTIONS} predictions per seed; all seeds are pooled. A "
            "classifier below the dotted line is overconfident."
        )
        charts.append(Chart(f"reliability_{data}_{encoder}", f"Reliability: {data}, {encoder}", note, figure))
    return charts


def _read_run_tables(folder: Path, notes: list[str]) -> RunTables | None:
    """Return the tables of a run; None where it recorded none, or where the file was damaged meanwhile."""
    try:
        tables = read_tables(folder)
    except DamagedRunError as error:
        notes.append(f"{error}. It is left out of the figures by class.")
        return None
    if tables.confusion_matrix is None or tables.reliability is None:
        return None
    return RunTables(tables.classes, tables.confusion_matrix, tables.reliability)


def _keep_common(
    panels: Sequence[tuple[str, list[tuple[Path, RunTables]]]], data: str, notes: list[str]
) -> list[tuple[str, list[RunTables]]]:
    """Return the panels with the tables of the most frequent layout; append a note for each run with another one."""
    layouts = Counter(table.layout for _, tables in panels for _, table in tables)
    if not layouts:
        return []
    common = layouts.most_common(1)[0][0]
    for _, tables in panels:
        for folder, table in tables:
            if table.layout != common:
                notes.append(
                    f"{folder / 'result.json'}: tables.classes: {len(table.classes)} names; its classes or bins differ "
                    f"from those of most runs on {data}. It is left out of the figures by class."
                )
    kept = [(label, [table for _, table in tables if table.layout == common]) for label, tables in panels]
    return [(label, tables) for label, tables in kept if tables]


def _draw_matrix(axis: Any, counts: np.ndarray, classes: Sequence[str]) -> Any:
    total = counts.sum(axis=1, keepdims=True)
    fractions = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    image = axis.imshow(fractions, cmap="cividis", vmin=0, vmax=1)
    if len(classes) <= _MAX_CLASSES_WITH_NAMES:
        names = [name if len(name) <= 22 else f"{name[:20]}…" for name in classes]
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
    if len(classes) <= _MAX_CLASSES_WITH_NUMBERS:
        for row, column in np.argwhere(fractions >= 0.005):
            fraction = fractions[row, column]
            colour = "black" if fraction > 0.55 else "white"
            axis.text(column, row, f"{100 * fraction:.0f}", ha="center", va="center", color=colour, fontsize=7)
    return image


def _pool_bins(bins: Sequence[Reliability]) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and accuracy of the bins of several runs together, without bins of few predictions."""
    count = np.array([run.count for run in bins])
    total = count.sum(axis=0)
    is_drawn = total >= _MIN_PREDICTIONS * len(bins)

    def pool(means: list[np.ndarray]) -> np.ndarray:
        return np.asarray((count * np.nan_to_num(np.array(means))).sum(axis=0)[is_drawn] / total[is_drawn])

    return pool([run.confidence for run in bins]), pool([run.accuracy for run in bins])
