"""Line plots of a run's metrics and sheets of augmented views."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simclr_med.metrics_csv import read_rows
from simclr_med.plots.channels import select_shown
from simclr_med.plots.style import COLOURS, LINE_STYLES

LARGEST = 1e100


def read_curves(metrics_csv: Path) -> pd.DataFrame:
    """Return the complete rows of a metrics.csv as numbers, float64.

    Missing and damaged values are NaN, and so are those beyond `LARGEST`, which no axis can show.
    """
    table = pd.DataFrame(read_rows(metrics_csv)).apply(pd.to_numeric, errors="coerce").astype(np.float64)
    return table.where(table.abs() <= LARGEST)


def plot_training_curves(
    metrics_csv: Path,
    target: Path,
    panels: Sequence[tuple[str, Sequence[str]]],
    marks: Mapping[str, tuple[str, float]] = MappingProxyType({}),
) -> None:
    """Draw a panel for each group of metrics over the epochs, at most four panels in a row.

    Metrics without values are left out; metrics that are in no panel get panels of their own at the end.

    Args:
        metrics_csv: of a run.
        target: PNG to write.
        panels: (title, names of the metrics).
        marks: (label, value) of a constant to compare a metric with, drawn as a thin line in the metric's colour.
    """
    table = read_curves(metrics_csv)
    measured = [name for name in map(str, table) if "/" in name and table[name].notna().any()]
    assigned = {name for _, names in panels for name in names}
    groups = [(label, [name for name in names if name in measured]) for label, names in panels]
    groups += [(name.replace("_", " "), [name]) for name in measured if name not in assigned]
    drawn = [(label, names) for label, names in groups if names]
    across = min(4, max(1, len(drawn)))
    down = -(-max(1, len(drawn)) // across)
    figure = Figure(figsize=(3.4 * across, 2.6 * down), layout="constrained", dpi=150)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (label, names) in zip(axes[: len(drawn)], drawn, strict=True):
        _draw_curves(axis, table, names, marks)
        axis.set_xlabel("epoch")
        axis.set_title(label, fontsize=10)
    for axis in axes[len(drawn) :]:
        axis.axis("off")
    figure.savefig(target)


def _draw_curves(axis: Any, table: pd.DataFrame, names: Sequence[str], marks: Mapping[str, tuple[str, float]]) -> None:
    """Draw each metric as a line with its own colour and line style, and its mark; several lines have a legend."""
    for colour, line_style, name in zip(itertools.cycle(COLOURS), itertools.cycle(LINE_STYLES), names):
        known = table[["epoch", name]].dropna()
        marker = "o" if len(known) < 40 else None
        axis.plot(known["epoch"] + 1, known[name], line_style, color=colour, label=name, marker=marker, markersize=3)
        if name in marks:
            label, value = marks[name]
            axis.axhline(value, color=colour, linewidth=0.8, label=f"{name}, {label}")
    # All panels have the same range, also for metrics that are not measured every epoch.
    last = int(table["epoch"].max()) + 1
    pad = max(0.5, 0.02 * last)
    axis.set_xlim(1 - pad, last + pad)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if len(axis.lines) > 1:
        axis.legend(frameon=False, fontsize=8)


def plot_views(originals_NHWC: np.ndarray, views_NVHWC: np.ndarray, target: Path, title: str) -> None:
    """Draw a sheet whose rows are an original image and its augmented views.

    Args:
        originals_NHWC: uint8; of more than three channels the first three are shown.
        views_NVHWC: float in [0, 1], V views of each image.
        target: PNG to write.
        title: above the sheet.
    """
    count, views = views_NVHWC.shape[:2]
    figure = Figure(figsize=(1.1 * (views + 1), 1.1 * count + 0.5), layout="constrained", dpi=150)
    axes = figure.subplots(count, views + 1, squeeze=False)
    for row in range(count):
        pictures = [select_shown(image) for image in (originals_NHWC[row], *views_NVHWC[row])]
        for column, (axis, picture) in enumerate(zip(axes[row], pictures, strict=True)):
            axis.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255 if column == 0 else 1)
            axis.axis("off")
            if row == 0:
                axis.set_title("original" if column == 0 else f"view {column}", fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.savefig(target)
