"""Grids of images: augmented views, nearest neighbours, and Grad-CAM heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from simclr_med.plots.channels import select_shown
from simclr_med.plots.style import CORRECT, GREY, WRONG, wrap_name

GAP = 0.08  # between two images of a mosaic, as a fraction of an image's side
ROW_NAME_CHARS = 16  # characters in a line of a row's name
ROW_NAME_CHAR_WIDTH = 0.105  # as a fraction of an image's width
TILE, LINE = 1.1, 0.1  # inches: side of a tile, and height of a line of its caption
CAPTION_CHARS = 18  # characters in a line of a caption


@dataclass(frozen=True)
class Tile:
    """One image of a gallery.

    Attributes:
        image: uint8 [H, W, C]; of more than three channels the first three are shown.
        caption: below it.
        is_correct: whether the prediction is correct, shown by the colour of the frame; None without a prediction.
        heat: heat map drawn over the image, float [h, w] in [0, 1], or None.
    """

    image: np.ndarray
    caption: str
    is_correct: bool | None = None
    heat: np.ndarray | None = None


def plot_sequences(
    originals_NHWC: np.ndarray, names: Sequence[str], blocks: Mapping[str, np.ndarray], target: Path
) -> None:
    """Draw a sheet whose rows are an original image and its views by each augmentation sequence.

    Args:
        originals_NHWC: uint8; of more than three channels the first three are shown.
        names: class of each row; empty strings without labels.
        blocks: views_NVHWC of each sequence by its name, float in [0, 1].
        target: PNG to write.
    """
    count, height_px, width_px = originals_NHWC.shape[:3]
    image_width = 0.5 if width_px <= 64 else 0.75  # inches
    image_height = image_width * height_px / width_px
    labels = [wrap_name(name, ROW_NAME_CHARS) for name in names]
    longest = max(len(line) for label in labels for line in [*label.splitlines(), ""])
    margin = 0.1 + image_width * ROW_NAME_CHAR_WIDTH * longest
    mosaics = {"original": originals_NHWC[:, None] / 255, **blocks}
    spans = [image_width * (mosaic.shape[1] + GAP * (mosaic.shape[1] - 1)) for mosaic in mosaics.values()]
    spacing = 0.25 * image_width
    mosaic_height = image_height * (count + GAP * (count - 1))
    width, height = margin + sum(spans) + spacing * len(spans), mosaic_height + 0.6 * image_width + 0.05
    figure = Figure(figsize=(width, height), dpi=150)
    left = margin
    for (title, mosaic), span in zip(mosaics.items(), spans, strict=True):
        axis = figure.add_axes((left / width, 0.05 / height, span / width, mosaic_height / height))
        _draw_mosaic(axis, mosaic, title, 18 * image_width)
        left += span + spacing
    for row, label in enumerate(labels):
        middle = 0.05 + mosaic_height - image_height * (row * (1 + GAP) + 0.5)
        position = ((margin - 0.05) / width, middle / height)
        figure.text(*position, label, fontsize=12 * image_width, ha="right", va="center", linespacing=1.1)
    figure.savefig(target)


def _draw_mosaic(axis: Any, images_NVHWC: np.ndarray, title: str, font_size: float) -> None:
    """Draw all images as one picture with rows of views; one picture is much faster than an axis per image."""
    images_NVHWC = select_shown(images_NVHWC)
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
    axis.set_title(title, fontsize=font_size)


def plot_gallery(rows: Sequence[Sequence[Tile]], target: Path, title: str, heads: Sequence[str] = ()) -> None:
    """Draw rows of framed images with captions; rows can have different lengths.

    Args:
        rows: of tiles.
        target: PNG to write.
        title: above all rows; can have several lines.
        heads: titles of the columns, above the first row.
    """
    across, lines = max(len(row) for row in rows), 1 + title.count("\n")
    caption = 0.08 + LINE * max(1 + wrap_name(tile.caption, CAPTION_CHARS).count("\n") for row in rows for tile in row)
    top = 0.1 + 0.17 * lines + (0.22 if heads else 0.1)
    width, height = TILE * across + 0.1, (TILE + caption) * len(rows) + top
    figure = Figure(figsize=(width, height), dpi=150)
    # Fixed positions: the automatic layout takes seconds for this many axes.
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
            _draw_tile(axis, tile)
            if heads and number == 0:
                axis.set_title(heads[column], fontsize=7, pad=4)
        for axis in line[len(row) :]:
            axis.axis("off")
    figure.text(0.05 / width, 1 - 0.08 / height, title, fontsize=8, va="top", linespacing=1.3)
    figure.savefig(target)


def _draw_tile(axis: Any, tile: Tile) -> None:
    axis.imshow(select_shown(tile.image).squeeze(), cmap="gray", vmin=0, vmax=255)
    if tile.heat is not None:
        height, width = tile.image.shape[:2]
        # The opacity follows the heat, so that the image stays visible where the heat is low.
        axis.imshow(
            tile.heat,
            "inferno",
            vmin=0,
            vmax=1,
            alpha=0.65 * tile.heat,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="bilinear",
        )
    axis.set_xticks([])
    axis.set_yticks([])
    colour = GREY if tile.is_correct is None else (CORRECT if tile.is_correct else WRONG)
    axis.spines[:].set(color=colour, linewidth=0.8 if tile.is_correct is None else 2)
    axis.set_xlabel(wrap_name(tile.caption, CAPTION_CHARS), fontsize=6, labelpad=2, color="black")
