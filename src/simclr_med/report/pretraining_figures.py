"""The report's figures of the course of pretraining."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simclr_med.plots.style import line_style
from simclr_med.plots.training import read_curves
from simclr_med.report.score_figures import Chart
from simclr_med.report.score_tables import METRIC_NAMES
from simclr_med.runs.fields import describe_error
from simclr_med.safe_files import check_regular

_MAX_CURVE_BYTES = 2 << 20  # of a metrics.csv; one of 1,000 epochs has 0.2 MiB
_MONITORS = (
    ("val/knn_accuracy", METRIC_NAMES["val/knn_accuracy"]),
    ("val/probe_auroc", METRIC_NAMES["val/probe_auroc"]),
    ("train/loss", "contrastive loss - log(2b - 1)"),
    ("val/loss", "validation loss - log(2b - 1)"),
    ("train/top1", "contrastive accuracy"),
    ("train/effective_rank", "effective rank"),
    ("train/alignment", "alignment"),
    ("train/uniformity", "uniformity"),
    ("train/gradient_norm", "gradient norm"),
)


def plot_pretraining_curves(table: pd.DataFrame, notes: list[str]) -> list[Chart]:
    """Draw the metrics of pretraining over the epochs: a line per run, a style per augmentation.

    Args:
        table: of a `collect.Collection`.
        notes: a sentence is appended for each run whose metrics.csv cannot be read.
    """
    charts = []
    for (data, encoder), group in table[table["stage"] == "pretrain"].groupby(["data", "encoder"]):
        pools = _count_images(table[table["data"] == data])
        curves = [
            (str(row["augmentation"]), _subtract_chance(curve, row["settings"], pools))
            for row in group.to_dict("records")
            if len(curve := _read_run_curves(Path(row["folder"]), notes))
        ]
        monitors = [(name, title) for name, title in _MONITORS if any(name in curve for _, curve in curves)]
        if not monitors:
            continue
        across, down = min(4, len(monitors)), -(-len(monitors) // 4)
        figure = Figure(figsize=(3.1 * across, 2.5 * down), layout="constrained", dpi=150)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        styles = dict(zip(sorted({sequence for sequence, _ in curves}), itertools.count()))
        for axis, (name, title) in zip(axes[: len(monitors)], monitors, strict=True):
            for sequence, curve in curves:
                _draw_curve(axis, curve, name, sequence, styles[sequence])
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("epoch", fontsize=8)
            axis.tick_params(labelsize=8)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(monitors) :]:
            axis.axis("off")
        handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
        note = (
            "One line per run, including unfinished runs. Colour and line style show the augmentation. log(2b - 1) is "
            "the loss of b images with equal projections; without it, the losses of training and validation, whose "
            "batches may differ in size, are comparable: 0 is chance, and lower is better."
        )
        charts.append(Chart(f"pretraining_{data}_{encoder}", f"Pretraining: {data}, {encoder}", note, figure))
    return charts


def _count_images(table: pd.DataFrame) -> dict[str, float]:
    """Return the images of the training and validation split of a data set, where a run on all labels counted them."""
    full = table[(table["budget"] == "full") & (table["state"] == "finished")]
    counts = {split: full[f"{split}/images"].max() for split in ("train", "val") if f"{split}/images" in full}
    return {split: float(count) for split, count in counts.items() if count > 0}


def _subtract_chance(curve: pd.DataFrame, settings: Mapping[str, str], pools: Mapping[str, float]) -> pd.DataFrame:
    """Return the curve with its losses minus log(2b - 1), for batches of b images.

    Args:
        curve: rows of a metrics.csv.
        settings: of the run; negatives come from the batch divided by stage.accumulate, unless it accumulates exactly.
        pools: images of each split; a batch is not larger. A split without them is taken as large enough.
    """
    try:
        is_exact = settings.get("stage.exact_accumulate") == "true"
        batch = int(settings["stage.batch_size"]) // (1 if is_exact else int(settings.get("stage.accumulate", "1")))
    except (KeyError, ValueError, ZeroDivisionError):
        return curve.drop(columns=["train/loss", "val/loss"], errors="ignore")
    compared = curve.copy()
    for split in ("train", "val"):
        images = min(batch, pools.get(split, math.inf))
        if f"{split}/loss" in compared:
            compared[f"{split}/loss"] -= math.log(max(2 * images - 1, 1))
    return compared


def _read_run_curves(folder: Path, notes: list[str]) -> pd.DataFrame:
    """Return the rows of a run's metrics.csv; none without the file, and none with a note where it cannot be read."""
    path = folder / "metrics.csv"
    try:
        check_regular(path, _MAX_CURVE_BYTES)
        return read_curves(path)
    except FileNotFoundError:
        return pd.DataFrame()
    except OSError as error:
        notes.append(f"{path}: {describe_error(error)}. Its curves are not drawn.")
        return pd.DataFrame()


def _draw_curve(axis: Any, curve: pd.DataFrame, name: str, label: str, number: int) -> None:
    if name not in curve:
        return
    known = curve[["epoch", name]].dropna()
    style = line_style(number) | {"markersize": 3}
    if len(known) >= 15:
        style |= {"marker": None}
    axis.plot(known["epoch"] + 1, known[name], label=label, linewidth=1.2, **style)
