"""The report's figures of scores, as PNG and PDF; each function draws one `Figure`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from simclr_med.plots.training import COLOURS, STROKES
from simclr_med.report.methods import KINDS, sort_budgets, find_main_method
from simclr_med.report.score_tables import MAIN, METRIC_NAMES, select_ablation_runs, mean_over_seeds, select_transfer_runs

MARKS = ("o", "s", "^", "D", "v", "P", "X")
ASIDE = 1.03  # from one method to the next, on a logarithmic axis


@dataclass(frozen=True)
class Chart:
    """A drawn figure.

    Attributes:
        name: of its files.
        title: above it, and its text for who does not see it.
        note: what it shows, in a sentence or two.
        figure: not yet saved.
    """

    name: str
    title: str
    note: str
    figure: Figure

    def save(self, folder: Path) -> Path:
        """Write name.png and name.pdf; the same figure gives the same bytes."""
        png = folder / f"{self.name}.png"
        self.figure.savefig(png, metadata={"Software": None})
        self.figure.set_layout_engine("none")  # everything has its place now; finding it again takes as long
        self.figure.savefig(png.with_suffix(".pdf"), metadata={"CreationDate": None})
        return png


def plot_label_efficiency(rows: pd.DataFrame) -> list[Chart]:
    """Score over the number of labels, the chief methods, a figure a data set and encoder."""
    charts = []
    picked = rows[~rows["budget"].str.startswith("per_class")]
    for (data, encoder), group in picked.groupby(["data", "encoder"]):
        chosen = _chief(group)
        numbers = mean_over_seeds(group[group["method"].isin(chosen)], ["method", "budget"], MAIN).sort_values("images")
        if len(numbers) == 0:
            continue
        figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(MAIN))
        for axis, metric in zip(axes, MAIN, strict=True):
            for number, method in enumerate(chosen):
                aside = ASIDE ** (number - (len(chosen) - 1) / 2)
                _line(axis, numbers[numbers["method"] == method], metric, method, number, aside)
            _label_axis(axis, numbers)
            axis.set_ylabel(f"test {METRIC_NAMES[metric]}")
            low, high = axis.get_ylim()  # an interval of two runs may reach far beyond what a score can be
            axis.set_ylim(max(low, -0.02), min(high, 1.02))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
        note = (
            "Means over seeds; bars are 95 % intervals over seeds, absent where there is one run; methods stand side "
            "by side at each budget. Of each kind the method that stands for it; the tables hold all."
        )
        charts.append(Chart(f"label_efficiency_{data}_{encoder}", f"Label efficiency: {data}, {encoder}", note, figure))
    return charts


def plot_ablation(rows: pd.DataFrame) -> list[Chart]:
    """AUROC by the augmentation of the pretraining, a panel a method, bars side by side for the budgets."""
    charts = []
    for (data, encoder), every in select_ablation_runs(rows).groupby(["data", "encoder"]):
        heads = [find_main_method(mine, str(kind)) for (kind, _), mine in every.groupby(["kind", "sequence"])]
        group = every[every["method"].isin(heads)]
        kinds = [kind for kind in KINDS if kind in set(group["kind"])]
        sequences = sorted(set(group["sequence"]))
        figure = Figure(figsize=(4.8 * len(kinds), 3.4), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(kinds), squeeze=False, sharey=False)[0]
        for axis, kind in zip(axes, kinds, strict=True):
            mine = group[group["kind"] == kind]
            _bars(axis, mean_over_seeds(mine, ["sequence", "budget"], MAIN), sequences, sort_budgets(mine["budget"]))
            axis.set_title(kind, fontsize=10)
        axes[0].set_ylabel("test AUROC")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
        note = "Means over seeds and 95 % intervals over seeds. The axis does not begin at 0."
        title = f"Augmentation of the pretraining: {data}, {encoder}"
        charts.append(Chart(f"ablation_{data}_{encoder}", title, note, figure))
    return charts


def plot_transfer(rows: pd.DataFrame) -> list[Chart]:
    """AUROC by the data set pretrained on (row) and classified (column), a panel a budget, a figure a method."""
    charts = []
    for (kind, encoder), group in select_transfer_runs(rows).groupby(["kind", "encoder"]):
        numbers = mean_over_seeds(group, ["seen", "data", "budget"], MAIN)
        budgets = sort_budgets(numbers["budget"])[-4:]
        down, across = sorted(set(numbers["seen"])), sorted(set(numbers["data"]))
        size = (1.5 + len(budgets) * (0.9 * len(across) + 0.6), 1.6 + 0.45 * len(down))
        figure = Figure(figsize=(max(5.0, size[0]), max(2.4, size[1])), layout="constrained", dpi=150)
        panels = figure.subplots(1, len(budgets), squeeze=False, sharey=True)[0]
        for panel, budget in zip(panels, budgets, strict=True):
            mine = numbers[numbers["budget"] == budget]
            table = mine.pivot(index="seen", columns="data", values="test/auroc mean").reindex(down)
            image = _heat(panel, table.reindex(columns=across), 0.5, 1.0)
            panel.set_title(budget, fontsize=10)
        panels[0].set_ylabel("pretrained on")
        figure.colorbar(image, ax=list(panels), label="test AUROC", shrink=0.8)
        note = "Mean over seeds. Rows: what the encoder was pretrained on; columns: the data set that is classified."
        charts.append(Chart(f"transfer_{kind}_{encoder}", f"Transfer: {kind}, {encoder}", note, figure))
    return charts


def _chief(group: pd.DataFrame) -> list[str]:
    """The method that stands for each kind, and those on ImageNet's weights."""
    heads = [find_main_method(group, kind) for kind in KINDS]
    more = sorted(set(group[group["origin"] == "ImageNet"]["method"]))
    return list(dict.fromkeys(name for name in (*heads, *more) if name is not None))[: len(COLOURS)]


def _line(axis: Any, rows: pd.DataFrame, metric: str, label: str, number: int, aside: float) -> None:
    """Means and intervals over the images times aside, so that the intervals of several methods stand side by side."""
    mean = rows[f"{metric} mean"].to_numpy()
    half = np.nan_to_num(mean - rows[f"{metric} low"].to_numpy())
    axis.errorbar(
        rows["images"] * aside,
        mean,
        half,
        label=label,
        color=COLOURS[number % len(COLOURS)],
        linestyle=STROKES[number % len(STROKES)],
        marker=MARKS[number % len(MARKS)],
        markersize=5,
        capsize=3,
        linewidth=1.5,
    )


def _label_axis(axis: Any, numbers: pd.DataFrame) -> None:
    """Labels on a logarithmic axis, a tick at each budget that there is, as long as they do not meet."""
    images = sorted({round(float(x)) for x in numbers["images"]})
    kept: list[int] = []
    for value in images:
        if not kept or value > kept[-1] * 1.25:
            kept.append(value)
    if len(images) > 1:
        axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(kept))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(kept, [f"{value:,}".replace(",", " ") for value in kept], fontsize=8)
    axis.set_xlabel("labelled training images")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _bars(axis: Any, numbers: pd.DataFrame, sequences: Sequence[str], budgets: Sequence[str]) -> None:
    width = 0.8 / len(sequences)
    ends: list[float] = []
    for place, (sequence, colour) in enumerate(zip(sequences, itertools.cycle(COLOURS))):
        mine = numbers[numbers["sequence"] == sequence].set_index("budget").reindex(budgets)
        mean = mine["test/auroc mean"].to_numpy()
        half = mean - mine["test/auroc low"].to_numpy()
        at = np.arange(len(budgets)) + (place - (len(sequences) - 1) / 2) * width
        hatch = ("", "//", "..", "xx", "\\\\", "oo", "--")[place % 7]
        axis.bar(at, mean, width, yerr=np.nan_to_num(half), label=sequence, color=colour, hatch=hatch,
                 edgecolor="white", error_kw={"capsize": 2, "linewidth": 1})  # fmt: skip
        ends += [float(end) for sign in (-1, 1) for end in mean + sign * np.nan_to_num(half) if not np.isnan(end)]
    axis.set_xticks(range(len(budgets)), budgets)
    axis.set_xlabel("label budget")
    axis.set_ylim(max(0.0, min(ends) - 0.05), max(ends) + 0.02)
    axis.spines[["top", "right"]].set_visible(False)


def _heat(axis: Any, table: pd.DataFrame, low: float, high: float) -> Any:
    """A heat map with its numbers written in."""
    values = table.to_numpy(dtype=float)
    image = axis.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axis.set_xticks(range(table.shape[1]), [str(name) for name in table.columns], rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(table.shape[0]), [str(name) for name in table.index], fontsize=8)
    for row, column in np.argwhere(~np.isnan(values)):
        bright = (values[row, column] - low) / (high - low) > 0.55
        colour = "black" if bright else "white"
        axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=8)
    return image
