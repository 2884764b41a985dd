"""Pictures of one run, from files and arrays."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Names of classes and data sets are drawn as they are, $ signs too, ...
matplotlib.rcParams["text.parse_math"] = False
# ... in whatever script, where a font for it is installed; where none is, a box stands for a letter, without a warning.
_SCRIPTS = {"Noto Sans", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic"}
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *sorted(_SCRIPTS.intersection(font_manager.get_font_names()))]
warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# And in print without colours.
STROKES = ("-", "--", "-.", ":")


def plot_training_curves(metrics_csv: Path, target: Path, panels: Sequence[tuple[str, Sequence[str]]]) -> None:
    """A panel for each group of metrics over the epochs, at most four beside each other.

    A metric that was never recorded is left out; one that no panel names gets a panel of its own after them.

    Args:
        metrics_csv: of a run.
        target: PNG to write.
        panels: (title, metrics' names).
    """
    table = pd.read_csv(metrics_csv).replace([np.inf, -np.inf], np.nan)
    measured = [name for name in table if "/" in name and table[name].notna().any()]
    named = {name for _, names in panels for name in names}
    groups = [(label, [name for name in names if name in measured]) for label, names in panels]
    groups += [(name.replace("_", " "), [name]) for name in measured if name not in named]
    drawn = [(label, names) for label, names in groups if names]
    across = min(4, max(1, len(drawn)))
    down = -(-max(1, len(drawn)) // across)
    figure = Figure(figsize=(3.4 * across, 2.6 * down), layout="constrained", dpi=150)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (label, names) in zip(axes[: len(drawn)], drawn, strict=True):
        _curves(axis, table, names)
        axis.set_xlabel("epoch")
        axis.set_title(label, fontsize=10)
    for axis in axes[len(drawn) :]:
        axis.axis("off")
    figure.savefig(target)


def _curves(axis: Any, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Each metric as a line of its own colour and stroke; a legend where there are several."""
    for colour, stroke, name in zip(itertools.cycle(COLOURS), itertools.cycle(STROKES), names):
        known = table[["epoch", name]].dropna()
        marker = "o" if len(known) < 40 else None
        axis.plot(known["epoch"] + 1, known[name], stroke, color=colour, label=name, marker=marker, markersize=3)
    # All panels alike, those of metrics that were looked at now and then too.
    last = int(table["epoch"].max()) + 1
    pad = max(0.5, 0.02 * last)
    axis.set_xlim(1 - pad, last + pad)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if len(names) > 1:
        axis.legend(frameon=False, fontsize=8)


def plot_views(originals_NHWC: np.ndarray, views_NVHWC: np.ndarray, target: Path, title: str) -> None:
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
