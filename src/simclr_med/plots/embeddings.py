"""Figures of features in two dimensions: the variance of their principal components, and maps of all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from simclr_med.plots.style import COLOURS, GREY, draw_legend, list_class_styles

MAX_COMPONENTS = 30  # drawn in the variance plot


@dataclass(frozen=True)
class Panel:
    """One map with a point per image.

    Attributes:
        title: above the map.
        points_N2: coordinates of each image.
        groups_N: int, class of each image; None without labels.
    """

    title: str
    points_N2: np.ndarray
    groups_N: np.ndarray | None


def plot_pca(shares: np.ndarray, panels: Sequence[Panel], names: Sequence[str], target: Path) -> None:
    """Draw the variance of the principal components, and maps of the first two.

    Args:
        shares: fraction of the variance of each component, in [0, 1] and decreasing.
        panels: maps of the first two components; they share their axes.
        names: of the groups; empty without labels.
        target: PNG to write.
    """
    figure, axes = _create_figure(1, 1 + len(panels), names)
    _draw_variance(axes[0, 0], shares)
    for axis, panel in zip(axes[0, 1:], panels, strict=True):
        _draw_map(axis, panel, len(names))
        axis.set_xlabel(f"component 1 ({shares[0]:.0%})", fontsize=8)
        axis.set_ylabel(f"component 2 ({shares[1]:.0%})" if len(shares) > 1 else "", fontsize=8)
    _share_limits(axes[0, 1:], panels)
    figure.savefig(target)


def plot_projections(rows: Mapping[str, Sequence[Panel]], names: Sequence[str], target: Path) -> None:
    """Draw maps without axis labels, such as those of t-SNE and UMAP.

    Args:
        rows: the maps of each row by the row's label, such as ``perplexity 30``.
        names: of the groups; empty without labels.
        target: PNG to write.
    """
    figure, axes = _create_figure(len(rows), max(len(panels) for panels in rows.values()), names)
    for line, (label, panels) in zip(axes, rows.items(), strict=True):
        for axis, panel in zip(line[: len(panels)], panels, strict=True):
            _draw_map(axis, panel, len(names))
            axis.set_xticks([])
            axis.set_yticks([])
        for axis in line[len(panels) :]:
            axis.axis("off")
        line[0].set_ylabel(label, fontsize=9)
    figure.savefig(target)


def _create_figure(down: int, across: int, names: Sequence[str]) -> tuple[Figure, Any]:
    width = 3.4 * across + 0.3
    figure = Figure(figsize=(width, 3.2 * down), layout="constrained", dpi=150)
    axes = figure.subplots(down, across, squeeze=False)
    if names:
        draw_legend(figure, names)
    return figure, axes


def _draw_map(axis: Any, panel: Panel, groups: int) -> None:
    axis.set_title(panel.title, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7)
    size = float(np.clip(6000 / max(1, len(panel.points_N2)), 5, 30))
    options = {"s": size, "alpha": 0.7, "linewidths": 0}
    if panel.groups_N is None:
        axis.scatter(*panel.points_N2.T, color=GREY, **options)
        return
    # The last groups are images of no class or of several; classes are drawn over them.
    for group, style in reversed(list(enumerate(list_class_styles(groups)))):
        inside = panel.points_N2[panel.groups_N == group]
        axis.scatter(*inside.T, color=style.colour, marker=style.marker, **options)


def _draw_variance(axis: Any, shares: np.ndarray) -> None:
    shown = shares[:MAX_COMPONENTS]
    numbers = np.arange(1, len(shown) + 1)
    axis.bar(numbers, shown, color=COLOURS[5], label="component")
    axis.plot(numbers, np.cumsum(shown), color=COLOURS[0], marker=".", label="cumulative")
    axis.set_title("explained variance", fontsize=9)
    axis.set_xlabel("component", fontsize=8)
    axis.set_ylim(0, 1)
    axis.set_xlim(0.4, len(shown) + 0.6)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, axis="y")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="center right")


def _share_limits(axes: Sequence[Any], panels: Sequence[Panel]) -> None:
    points = np.concatenate([panel.points_N2 for panel in panels])
    low, high = points.min(axis=0), points.max(axis=0)
    pad = 0.05 * np.maximum(high - low, 1e-9)
    for axis in axes:
        axis.set_xlim(low[0] - pad[0], high[0] + pad[0])
        axis.set_ylim(low[1] - pad[1], high[1] + pad[1])
