"""Sheets of images: views beside each other, neighbours, and where a classifier looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from simclr_med.plots.style import GREY, RIGHT, WRONG, wrap_name

GAP = 0.08  # of an image's side, between two images of a mosaic
ROW_CHARS, ROW_CHAR = 16, 0.105  # of a row's name: letters of a line, and the part of an image that one takes
TILE, LINE = 1.1, 0.1  # inches: a tile's side, and a line of the text below it
CAPTION_CHARS = 18  # of such a line


@dataclass(frozen=True)
class Tile:
    """One image of a gallery.

    Attributes:
        image: uint8 [H, W, 1 or 3].
        caption: below it.
        right: whether its frame is of the colour for right or for wrong; None: neither.
        heat: float [h, w] in [0, 1] laid over it, or None.
    """

    image: np.ndarray
    caption: str
    right: bool | None = None
    heat: np.ndarray | None = None


def plot_sequences(
    originals_NHWC: np.ndarray, names: Sequence[str], blocks: Mapping[str, np.ndarray], target: Path
) -> None:
    """Each row an original image, and beside it its views by each of several augmentation sequences.

    Args:
        originals_NHWC: uint8, one or three channels.
        names: of each row, its class; empty strings without labels.
        blocks: by the sequence's name its views_NVHWC, float in [0, 1].
        target: PNG to write.
    """
    count, height_px, width_px = originals_NHWC.shape[:3]
    cell = 0.5 if width_px <= 64 else 0.75  # inches of an image's width
    tall = cell * height_px / width_px
    labels = [wrap_name(name, ROW_CHARS) for name in names]
    margin = 0.1 + cell * ROW_CHAR * max(len(line) for label in labels for line in [*label.splitlines(), ""])
    mosaics = {"original": originals_NHWC[:, None] / 255, **blocks}
    spans = [cell * (mosaic.shape[1] + GAP * (mosaic.shape[1] - 1)) for mosaic in mosaics.values()]
    apart, high, top = 0.25 * cell, tall * (count + GAP * (count - 1)), 0.6 * cell
    width, height = margin + sum(spans) + apart * len(spans), high + top + 0.05
    figure = Figure(figsize=(width, height), dpi=150)
    left = margin
    for (title, mosaic), span in zip(mosaics.items(), spans, strict=True):
        axis = figure.add_axes((left / width, 0.05 / height, span / width, high / height))
        _mosaic(axis, mosaic, title, 18 * cell)
        left += span + apart
    for row, label in enumerate(labels):
        middle = 0.05 + high - tall * (row * (1 + GAP) + 0.5)
        place = ((margin - 0.05) / width, middle / height)
        figure.text(*place, label, fontsize=12 * cell, ha="right", va="center", linespacing=1.1)
    figure.savefig(target)


def _mosaic(axis: Any, images_NVHWC: np.ndarray, title: str, points: float) -> None:
    """All images as one, rows of views, on white."""
    count, views, height, width, channels = images_NVHWC.shape
    gap = max(1, round(GAP * height))
    canvas = np.ones((count * (height + gap) - gap, views * (width + gap) - gap, 3))
    for row in range(count):
        for column in range(views):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = np.broadcast_to(
                images_NVHWC[row, column], (height, width, 3) if channels == 1 else (height, width, channels)
            )
    axis.imshow(np.clip(canvas, 0, 1), aspect="auto")
    axis.axis("off")
    axis.set_title(title, fontsize=points)


def plot_gallery(rows: Sequence[Sequence[Tile]], target: Path, title: str, heads: Sequence[str] = ()) -> None:
    """Rows of framed images with captions; a row may be shorter than the others.

    Args:
        rows: of tiles.
        target: PNG to write.
        title: above all; may have several lines.
        heads: of the columns, above the first row.
    """
    across, lines = max(len(row) for row in rows), 1 + title.count("\n")
    caption = 0.08 + LINE * max(1 + wrap_name(tile.caption, CAPTION_CHARS).count("\n") for row in rows for tile in row)
    top = 0.1 + 0.17 * lines + (0.22 if heads else 0.1)
    width, height = TILE * across + 0.1, (TILE + caption) * len(rows) + top
    figure = Figure(figsize=(width, height), dpi=150)
    # Places by hand: to find them takes the automatic layout seconds for so many axes.
    axes = figure.subplots(len(rows), across, squeeze=False)
    figure.subplots_adjust(
        left=0.05 / width,
        right=1 - 0.05 / width,
        top=1 - top / height,
        bottom=caption / height,
        wspace=0.06,
        hspace=caption / (TILE * 0.95),
    )
    for number, (line, row) in enumerate(zip(axes, rows, strict=True)):
        for column, (axis, tile) in enumerate(zip(line[: len(row)], row, strict=True)):
            _tile(axis, tile)
            if heads and number == 0:
                axis.set_title(heads[column], fontsize=7, pad=4)
        for axis in line[len(row) :]:
            axis.axis("off")
    figure.text(0.05 / width, 1 - 0.08 / height, title, fontsize=8, va="top", linespacing=1.3)
    figure.savefig(target)


def _tile(axis: Any, tile: Tile) -> None:
    axis.imshow(tile.image.squeeze(), cmap="gray", vmin=0, vmax=255)
    if tile.heat is not None:
        height, width = tile.image.shape[:2]
        place = (-0.5, width - 0.5, height - 0.5, -0.5)
        # Where nothing speaks for the answer the image stays as it is.
        axis.imshow(
            tile.heat, "inferno", vmin=0, vmax=1, alpha=0.65 * tile.heat, extent=place, interpolation="bilinear"
        )
    axis.set_xticks([]), axis.set_yticks([])
    colour = GREY if tile.right is None else (RIGHT if tile.right else WRONG)
    axis.spines[:].set(color=colour, linewidth=0.8 if tile.right is None else 2)
    axis.set_xlabel(wrap_name(tile.caption, CAPTION_CHARS), fontsize=6, labelpad=2, color="black")
