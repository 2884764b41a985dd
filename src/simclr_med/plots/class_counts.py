"""How many images of each class each split has: in the terminal, as CSV and as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from simclr_med.atomic import write_text
from simclr_med.plots.style import wrap_name
from simclr_med.plots.training import COLOURS

ALL = "all images"


def class_counts_table(
    classes: Sequence[str], columns: Mapping[str, Sequence[int] | None], images: Mapping[str, int]
) -> pd.DataFrame:
    """A row for each class and one for all images; whole numbers, missing where a split has no labels.

    Args:
        classes: names of the rows, different ones.
        columns: the counts of each split by its name, None without labels.
        images: of each split, which of a multi-label set is no sum.
    """
    table = pd.DataFrame(
        {name: [None] * len(classes) if counts is None else list(counts) for name, counts in columns.items()},
        index=list(classes),
        dtype="Int64",
    ).rename_axis("class")
    table.loc[ALL] = [images[name] for name in columns]
    return table


def write_class_counts(table: pd.DataFrame, target: Path) -> None:
    """The table of `counts_table` as CSV."""
    write_text(target, table.to_csv(lineterminator="\n"))


def print_class_counts(table: pd.DataFrame, title: str) -> None:
    """The table of `counts_table` in the terminal."""
    shown = Table()
    shown.add_column("class", overflow="fold")
    for name in table:
        shown.add_column(str(name), justify="right")
    for number, (name, row) in enumerate(table.iterrows()):
        cells = ("-" if pd.isna(count) else f"{count:,}" for count in row)
        shown.add_row(str(name), *cells, end_section=number == len(table) - 2)
    print(title)
    Console(markup=False, emoji=False).print(shown)


def plot_class_counts(table: pd.DataFrame, target: Path) -> None:
    """Bars of each class's images, a panel with its own scale for each split."""
    classes, splits = table.drop(index=ALL), list(table)
    names = [wrap_name(str(name), 34, lines=2) for name in classes.index]
    pitch = 0.32 if any("\n" in name for name in names) else 0.22  # inches
    width = 1.9 * len(splits) + 0.075 * max(len(line) for name in names for line in name.splitlines())
    height = pitch * len(names) + 0.4
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    axes = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
    rows = range(len(classes))
    for axis, split in zip(axes, splits, strict=True):
        counts = classes[split].fillna(0).astype(int).to_numpy()
        bars = axis.barh(rows, counts, color=COLOURS[0])
        axis.bar_label(bars, [f"{count:,}" for count in counts], fontsize=7, padding=2)
        axis.set_title(f"{split}: {table[split].iloc[-1]:,} images", fontsize=9)
        axis.set_xlim(0, max(1, counts.max()) * 1.3)
        axis.set_xticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    axes[0].set_yticks(list(rows), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.savefig(target)
