"""The report's figures of scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from simclr_med.plots.style import COLOURS, line_style
from simclr_med.report.budgets import label_budgets
from simclr_med.report.cells import summarise_cells
from simclr_med.report.methods import KINDS, find_main_method, sort_budgets
from simclr_med.report.pairs import join_foundations, list_own_encoders
from simclr_med.report.score_tables import (
    MAIN,
    METRIC_NAMES,
    select_ablation_runs,
    select_transfer_runs,
)

OFFSET = 1.03  # factor between two methods on the logarithmic axis, so that their intervals do not overlap
LEGEND_CHARS = 120  # that fit into a line of the legend, with its symbols
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "--")


@dataclass(frozen=True)
class Chart:
    """A figure that is not saved yet.

    Attributes:
        name: of its files.
        title: shown above it, and read by screen readers.
        note: explains the figure in a sentence or two.
        figure: the drawing.
    """

    name: str
    title: str
    note: str
    figure: Figure

    def save(self, folder: Path) -> Path:
        """Write name.png and name.pdf without dates or versions, so that an equal figure gives equal bytes."""
        png = folder / f"{self.name}.png"
        self.figure.savefig(png, metadata={"Software": None})
        self.figure.set_layout_engine("none")  # the layout is known; to compute it again takes as long as before
        self.figure.savefig(png.with_suffix(".pdf"), metadata={"CreationDate": None})
        return png


def plot_label_efficiency(rows: pd.DataFrame) -> list[Chart]:
    """Draw the score over the number of labels of the main methods; a figure per data set and encoder."""
    charts = []
    selected = rows[~rows["budget"].str.startswith("per_class")]
    places = [(data, encoder) for data, same in selected.groupby("data") for encoder in list_own_encoders(same)]
    for data, encoder in places:
        group, pretrained = join_foundations(selected[selected["data"] == data], encoder)
        methods = _list_main_methods(group, pretrained)
        numbers = summarise_cells(group[group["method"].isin(methods)], ["method", "budget"], MAIN)
        numbers = numbers.sort_values("images")
        if len(numbers) == 0:
            continue
        figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(MAIN))
        for axis, metric in zip(axes, MAIN, strict=True):
            for number, method in enumerate(methods):
                factor = OFFSET ** (number - (len(methods) - 1) / 2)
                _draw_means(axis, numbers[numbers["method"] == method], metric, method, number, factor)
            label_images_axis(axis, numbers["images"])
            axis.set_ylabel(f"test {METRIC_NAMES[metric]}")
            _draw_chance(axis, group, metric)
        handles, labels = axes[0].get_legend_handles_labels()
        columns = max(1, min(4, len(labels), LEGEND_CHARS // max(map(len, labels), default=1)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        note = (
            "Means with 95 % confidence intervals, as in the tables, which name the encoders and seeds that they "
            "cover; with fewer than 3 seeds there is none. Methods are drawn side by side at each label budget. The "
            "figure shows the main method of each kind, those with selected images and pretrained models; the tables "
            "show all methods. The dotted line is chance: an AUROC of 0.5, and the accuracy of always predicting the "
            "largest class."
        )
        charts.append(Chart(f"label_efficiency_{data}_{encoder}", f"Label efficiency: {data}, {encoder}", note, figure))
    return charts


def plot_ablation(rows: pd.DataFrame) -> list[Chart]:
    """Draw AUROC by pretraining augmentation: a panel per kind of method, a group of bars per budget."""
    charts = []
    for (data, encoder), runs in select_ablation_runs(rows).groupby(["data", "encoder"]):
        main_methods = [find_main_method(same, str(kind)) for (kind, _), same in runs.groupby(["kind", "sequence"])]
        group = runs[runs["method"].isin(main_methods)]
        kinds = [kind for kind in KINDS if kind in set(group["kind"])]
        sequences = sorted(set(group["sequence"]))
        figure = Figure(figsize=(4.8 * len(kinds), 3.4), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(kinds), squeeze=False, sharey=False)[0]
        for axis, kind in zip(axes, kinds, strict=True):
            panel = group[group["kind"] == kind]
            means = summarise_cells(panel, ["sequence", "budget"], MAIN)
            budgets = sort_budgets(panel["budget"])
            _draw_bars(axis, means, sequences, budgets)
            axis.set_xticks(range(len(budgets)), [label_budgets(panel)[budget] for budget in budgets])
            axis.set_title(kind, fontsize=10)
        axes[0].set_ylabel("test AUROC")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
        note = "Means and 95 % confidence intervals, as in the tables. The vertical axis does not start at 0."
        title = f"Pretraining augmentation: {data}, {encoder}"
        charts.append(Chart(f"ablation_{data}_{encoder}", title, note, figure))
    return charts


def plot_transfer(rows: pd.DataFrame) -> list[Chart]:
    """Draw AUROC by pretraining (row) and classified data set (column): a panel per budget, a figure per method."""
    charts = []
    for (kind, encoder), group in select_transfer_runs(rows).groupby(["kind", "encoder"]):
        numbers = summarise_cells(group, ["seen", "data", "budget"], MAIN)
        budgets = sort_budgets(numbers["budget"])[-4:]
        pretrainings, datasets = sorted(set(numbers["seen"])), sorted(set(numbers["data"]))
        size = (1.5 + len(budgets) * (0.9 * len(datasets) + 0.6), 1.6 + 0.45 * len(pretrainings))
        figure = Figure(figsize=(max(5.0, size[0]), max(2.4, size[1])), layout="constrained", dpi=150)
        panels = figure.subplots(1, len(budgets), squeeze=False, sharey=True)[0]
        for panel, budget in zip(panels, budgets, strict=True):
            means = numbers[numbers["budget"] == budget]
            table = means.pivot(index="seen", columns="data", values="test/auroc mean").reindex(pretrainings)
            image = _draw_heat_map(panel, table.reindex(columns=datasets), 0.5, 1.0)
            panel.set_title(label_budgets(group)[budget], fontsize=10)
        panels[0].set_ylabel("pretrained on")
        figure.colorbar(image, ax=list(panels), label="test AUROC", shrink=0.8)
        note = "Means over seeds. Rows: pretraining of the encoder. Columns: data set that is classified."
        charts.append(Chart(f"transfer_{kind}_{encoder}", f"Transfer: {kind}, {encoder}", note, figure))
    return charts


def _list_main_methods(group: pd.DataFrame, pretrained: Sequence[str]) -> list[str]:
    """Return the main method of each kind, and those with selected images, ImageNet weights or a pretrained model."""
    main_methods = [find_main_method(group, kind) for kind in KINDS]
    selected = sorted(set(group[group["selected_by"] != ""]["method"]))
    imagenet = sorted(set(group[group["origin"] == "ImageNet"]["method"]))
    every = (*main_methods, *selected, *imagenet, *pretrained)
    return list(dict.fromkeys(name for name in every if name is not None))[: len(COLOURS)]


def _draw_means(axis: Any, rows: pd.DataFrame, metric: str, label: str, number: int, factor: float) -> None:
    """Draw means with their intervals over the number of images times factor."""
    mean, arms = _measure_arms(rows, metric)
    style = line_style(number) | {"markersize": 5}
    axis.errorbar(rows["images"] * factor, mean, arms, label=label, capsize=3, linewidth=1.5, **style)


def _draw_chance(axis: Any, rows: pd.DataFrame, metric: str) -> None:
    """Draw the score without any knowledge of the images: AUROC 0.5, and the accuracy of the largest test class."""
    counts = max(rows["class_counts"], key=len, default=())
    images = int(rows["test_images"].max())
    if metric == "test/auroc":
        axis.axhline(0.5, color="grey", linewidth=1, linestyle=":", label="chance")
    elif images and sum(counts) == images:  # one label for each image
        axis.axhline(max(counts) / images, color="grey", linewidth=1, linestyle=":", label="chance")


def _measure_arms(rows: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the means, and the lengths of their intervals below and above, [2, number of rows]; 0 without interval."""
    low, mean, high = (rows[f"{metric} {part}"].to_numpy(dtype=np.float64) for part in ("low", "mean", "high"))
    return mean, np.nan_to_num(np.stack([mean - low, high - mean]))


def label_images_axis(axis: Any, counts: Iterable[float]) -> None:
    """Set a logarithmic axis with a tick at each number of labels; ticks whose labels would overlap are left out."""
    images = sorted({round(float(x)) for x in counts})
    kept: list[int] = []
    for value in images:
        if not kept or value > kept[-1] * 1.25:
            kept.append(value)
    if len(images) > 1:
        axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(kept))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(kept, [f"{value:,}".replace(",", " ") for value in kept], fontsize=8)
    axis.set_xlabel("labels used, for training and for choices")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_bars(axis: Any, numbers: pd.DataFrame, sequences: Sequence[str], budgets: Sequence[str]) -> None:
    width = 0.8 / len(sequences)
    ends: list[float] = []
    for number, (sequence, colour) in enumerate(zip(sequences, itertools.cycle(COLOURS))):
        means = numbers[numbers["sequence"] == sequence].set_index("budget").reindex(budgets)
        mean, arms = _measure_arms(means, "test/auroc")
        axis.bar(
            np.arange(len(budgets)) + (number - (len(sequences) - 1) / 2) * width,
            mean,
            width,
            yerr=arms,
            label=sequence,
            color=colour,
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            error_kw={"capsize": 2, "linewidth": 1},
        )
        ends += [float(end) for end in (*(mean - arms[0]), *(mean + arms[1])) if not np.isnan(end)]
    axis.set_xlabel("label budget")
    axis.set_ylim(max(0.0, min(ends) - 0.05), max(ends) + 0.02)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_heat_map(axis: Any, table: pd.DataFrame, low: float, high: float) -> Any:
    """Draw a heat map with its numbers; return the image."""
    values = table.to_numpy(dtype=float)
    image = axis.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axis.set_xticks(range(table.shape[1]), [str(name) for name in table.columns], rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(table.shape[0]), [str(name) for name in table.index], fontsize=8)
    for row, column in np.argwhere(~np.isnan(values)):
        is_bright = (values[row, column] - low) / (high - low) > 0.55
        colour = "black" if is_bright else "white"
        axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=8)
    return image
