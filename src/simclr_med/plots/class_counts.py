"""The number of images per class and split: in the terminal, as CSV and as a bar chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from simclr_med.atomic import write_text
from simclr_med.csv_cells import escape_cell
from simclr_med.plots.style import COLOURS, wrap_name

ALL = "all images"


def build_class_counts(
    classes: Sequence[str], columns: Mapping[str, Sequence[int] | None], images: Mapping[str, int]
) -> pd.DataFrame:
    """Return a table with a row per class and one for all images; counts are missing where a split has no labels.

    Args:
        classes: names of the rows, all different.
        columns: counts of each split by its name; None without labels.
        images: number of images of each split; in a multi-label set it differs from the sum of the counts.
    """
    table = pd.DataFrame(
        {name: [None] * len(classes) if counts is None else list(counts) for name, counts in columns.items()},
        index=list(classes),
        dtype="Int64",
    ).rename_axis("class")
    table.loc[ALL] = [images[name] for name in columns]
    return table


def write_class_counts(table: pd.DataFrame, target: Path) -> None:
    """Write the table of `build_class_counts` as CSV."""
    write_text(target, table.rename(index=escape_cell).to_csv(lineterminator="\n"))


def print_class_counts(table: pd.DataFrame, title: str) -> None:
    """Print the table of `build_class_counts`."""
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
    """Draw the images of each class as bars; each split is a panel with its own scale."""
    classes, splits = table.drop(index=ALL), list(table)
    names = [wrap_name(str(name), 34, lines=2) for name in classes.index]
    row_height = 0.32 if any("\n" in name for name in names) else 0.22  # inches
    width = 1.9 * len(splits) + 0.075 * max(len(line) for name in names for line in name.splitlines())
    height = row_height * len(names) + 0.4
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
