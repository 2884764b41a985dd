"""Pictures of one run, from files and arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def training_curves(metrics_csv: Path, target: Path, panels: Sequence[tuple[str, Sequence[str]]]) -> None:
    """One panel for each group of metrics over the epochs; a metric that was never recorded is left out.

    Args:
        metrics_csv: of a run.
        target: PNG to write.
        panels: (label of the y axis, metrics' names).
    """
    table = pd.read_csv(metrics_csv)
    drawn = [
        (label, [name for name in names if name in table and table[name].notna().any()]) for label, names in panels
    ]
    drawn = [(label, names) for label, names in drawn if names]
    figure = Figure(figsize=(4.2 * len(drawn), 3.2), layout="constrained", dpi=150)
    for axis, (label, names) in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn, strict=True):
        for colour, name in zip(itertools.cycle(COLOURS), names):
            known = table[["epoch", name]].dropna()
            marker = "o" if len(known) < 40 else None
            axis.plot(known["epoch"] + 1, known[name], color=colour, label=name, marker=marker, markersize=3)
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(target)


def views_sheet(originals_NHWC: np.ndarray, views_NVHWC: np.ndarray, target: Path, title: str) -> None:
    """Each row an original image and its augmented views.

    Args:
        originals_NHWC: uint8, one or three channels.
        views_NVHWC: float in [0, 1], V views of each image.
        target: PNG to write.
        title: above the sheet.
    """
    count, views = views_NVHWC.shape[:2]
    figure = Figure(figsize=(1.1 * (views + 1), 1.1 * count + 0.5), layout="constrained", dpi=150)
    axes = figure.subplots(count, views + 1, squeeze=False)
    for row in range(count):
        pictures = [originals_NHWC[row], *views_NVHWC[row]]
        for column, (axis, picture) in enumerate(zip(axes[row], pictures, strict=True)):
            axis.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255 if column == 0 else 1)
            axis.axis("off")
            if row == 0:
                axis.set_title("original" if column == 0 else f"view {column}", fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.savefig(target)
