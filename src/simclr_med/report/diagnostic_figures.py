"""The report's figures of single methods: which classes are taken for which, calibration, how pretraining went."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simclr_med.plots.training import COLOURS, STROKES
from simclr_med.report.methods import KINDS, sort_budgets, find_main_method
from simclr_med.report.results import content
from simclr_med.report.score_figures import MARKS, Chart

_CLASSES_WITH_NUMBERS = 10  # above that a matrix's numbers are too small to read
_FEWEST = 10  # answers a run of a bin that is drawn: the accuracy of fewer says little, and seeds share their images
_MONITORS = (
    ("train/loss", "contrastive loss"),
    ("val/loss", "loss on validation"),
    ("train/top1", "contrastive accuracy"),
    ("val/knn_accuracy", "kNN accuracy on validation"),
    ("train/effective_rank", "effective rank"),
    ("train/alignment", "alignment"),
    ("train/uniformity", "uniformity"),
    ("train/gradient_norm", "gradient norm"),
)


def plot_confusion_matrices(rows: pd.DataFrame) -> list[Chart]:
    """Of each kind's find_main_method method under its largest budget, a panel a kind: shares of each true class."""
    charts = []
    for data, encoder, panels in _panels(rows):
        matrices = [
            (label, np.sum([table["confusion_matrix"] for table in tables], axis=0)) for label, tables in panels
        ]
        matrices = [(label, matrix) for label, matrix in matrices if matrix.ndim == 2]  # else multi-label
        if not matrices:
            continue
        classes = panels[0][1][0]["classes"]
        side, across = min(6.0, max(2.6, 0.42 * len(classes) + 1.0)), min(2, len(matrices))
        down = -(-len(matrices) // across)
        figure = Figure(figsize=(side * across + 1.6, 0.88 * side * down + 1.2), layout="constrained", dpi=150)
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axis, (label, matrix) in zip(axes.ravel()[: len(matrices)], matrices, strict=True):
            image = _matrix(axis, matrix, classes)
            axis.set_title("\n".join(textwrap.wrap(label, 38)), fontsize=9)
        for axis in axes.ravel()[len(matrices) :]:
            axis.axis("off")
        figure.supylabel("true class", fontsize=10)
        figure.supxlabel("answer", fontsize=10)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.7)
        note = "Rows sum to 1; the counts of all seeds together."
        charts.append(Chart(f"confusion_{data}_{encoder}", f"Answers by true class: {data}, {encoder}", note, figure))
    return charts


def plot_reliability(rows: pd.DataFrame) -> list[Chart]:
    """Accuracy over confidence of the same methods."""
    charts = []
    for data, encoder, panels in _panels(rows):
        figure = Figure(figsize=(5.6, 5.0), layout="constrained", dpi=150)
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":", label="calibrated")
        for number, (label, tables) in enumerate(panels):
            confidence, accuracy = _pooled([table["reliability"] for table in tables])
            axis.plot(
                confidence,
                accuracy,
                label=label,
                color=COLOURS[number % len(COLOURS)],
                linestyle=STROKES[number % len(STROKES)],
                marker=MARKS[number % len(MARKS)],
                markersize=4,
            )
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
        note = (
            f"Bins of equal width with {_FEWEST} answers a seed or more, all seeds together; below the dotted line a "
            "classifier is too sure of itself."
        )
        charts.append(Chart(f"reliability_{data}_{encoder}", f"Reliability: {data}, {encoder}", note, figure))
    return charts


def plot_pretraining_curves(table: pd.DataFrame) -> list[Chart]:
    """The monitors over the epochs, a line a run, a colour an augmentation, a figure a data set and encoder."""
    charts = []
    for (data, encoder), group in table[table["stage"] == "pretrain"].groupby(["data", "encoder"]):
        curves = [
            (str(row["augmentation"]), curve)
            for row in group.to_dict("records")
            if (curve := _curve(Path(row["folder"]) / "metrics.csv")) is not None
        ]
        shown = [(name, word) for name, word in _MONITORS if any(name in curve for _, curve in curves)]
        if not curves or not shown:
            continue
        figure = Figure(figsize=(3.1 * min(4, len(shown)), 2.5 * -(-len(shown) // 4)), layout="constrained", dpi=150)
        axes = figure.subplots(-(-len(shown) // 4), min(4, len(shown)), squeeze=False).ravel()
        styles = dict(zip(sorted({name for name, _ in curves}), itertools.count()))
        for axis, (name, word) in zip(axes[: len(shown)], shown, strict=True):
            for sequence, curve in curves:
                _draw(axis, curve, name, sequence, styles[sequence])
            axis.set_title(word, fontsize=9)
            axis.set_xlabel("epoch", fontsize=8)
            axis.tick_params(labelsize=8)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(shown) :]:
            axis.axis("off")
        handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
        note = "A line a run, unfinished ones too; colour and stroke tell the augmentation."
        charts.append(Chart(f"pretraining_{data}_{encoder}", f"Pretraining: {data}, {encoder}", note, figure))
    return charts


def _panels(rows: pd.DataFrame) -> Iterator[tuple[str, str, list[tuple[str, list[dict[str, Any]]]]]]:
    """(data, encoder, [(method and budget, what its runs recorded)]) of the find_main_method methods.

    The budget is the largest that they share; where they share none, the largest of each.
    """
    for (data, encoder), group in rows.groupby(["data", "encoder"]):
        panels = []
        heads = [group[group["method"] == head] for kind in KINDS if (head := find_main_method(group, kind)) is not None]
        shared = set.intersection(*(set(mine["budget"]) for mine in heads)) if heads else set()
        for mine in heads:
            budget = sort_budgets(shared or mine["budget"])[-1]
            folders = mine[mine["budget"] == budget]["folder"]
            tables = [recorded for folder in folders if (recorded := _recorded(Path(folder))) is not None]
            if tables:
                panels.append((f"{mine['method'].iloc[0]}, {budget}", tables))
        if panels:
            yield str(data), str(encoder), panels


def _recorded(folder: Path) -> dict[str, Any] | None:
    tables = content(folder).get("tables", {})
    return tables if {"classes", "confusion_matrix", "reliability"} <= set(tables) else None


def _matrix(axis: Any, counts: np.ndarray, classes: list[str]) -> Any:
    total = counts.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    image = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    names = [name if len(name) <= 22 else f"{name[:20]}…" for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    if len(classes) <= _CLASSES_WITH_NUMBERS:
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            colour = "black" if share > 0.55 else "white"
            axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    return image


def _pooled(bins: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and accuracy of the bins of several runs together; nearly empty bins are left out."""
    count = np.array([one["count"] for one in bins], dtype=float)
    parts = []
    for name in ("confidence", "accuracy"):
        values = np.nan_to_num(np.array([[np.nan if x is None else x for x in one[name]] for one in bins], dtype=float))
        parts.append((count * values).sum(axis=0))
    total = count.sum(axis=0)
    some = total >= _FEWEST * len(bins)
    return parts[0][some] / total[some], parts[1][some] / total[some]


def _curve(path: Path) -> pd.DataFrame | None:
    """A metrics.csv up to its last whole row; None where there is none."""
    try:
        whole, _, _ = path.read_text(encoding="utf-8", errors="replace").replace("\0", "").rpartition("\n")
        table = pd.read_csv(io.StringIO(whole), on_bad_lines="skip").apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError):
        return None
    known = table.replace([np.inf, -np.inf], np.nan)
    return known if "epoch" in known and len(known) else None


def _draw(axis: Any, curve: pd.DataFrame, name: str, label: str, style: int) -> None:
    if name not in curve:
        return
    known = curve[["epoch", name]].dropna()
    axis.plot(
        known["epoch"] + 1,
        known[name],
        label=label,
        color=COLOURS[style % len(COLOURS)],
        linestyle=STROKES[style % len(STROKES)],
        linewidth=1.2,
        marker=MARKS[style % len(MARKS)] if len(known) < 15 else None,
        markersize=3,
    )
