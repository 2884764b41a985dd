"""How classes are told apart in pictures: by colour and marker together, under names that fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simclr_med.plots.training import COLOURS

# No more than seven colours are told apart by every reader: the next seven classes have another marker instead.
MARKERS = ("o", "^", "s", "X", "D", "P", "v")
# Of images without labels, and of what is neither right nor wrong.
GREY = "#767676"
# Right and wrong, the two colours of the palette that differ most in lightness and hue.
RIGHT, WRONG = COLOURS[0], COLOURS[1]

LINE_CHARS = 30  # of a line of a legend
CHAR_WIDTH, KEY_WIDTH = 0.068, 0.42  # inches: a letter of 8 points on average, and a marker with its gaps
LINE_HEIGHT, ENTRY_GAP = 0.13, 0.06  # inches: a line of 8 points, and what lies between two entries


class Style(NamedTuple):
    """Colour and marker of one class."""

    colour: str
    marker: str


def class_styles(count: int) -> list[Style]:
    """A style of its own for each of up to 49 classes; more of them begin again."""
    return [
        Style(COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]) for index in range(count)
    ]


def wrap_name(name: str, width: int, lines: int = 3) -> str:
    """A name in a few lines of so many characters, cut with an ellipsis when it is longer still."""
    return textwrap.fill(re.sub(r"(?<=\w)\(", " (", name), width, max_lines=lines, placeholder=" …")


def draw_legend(figure: Figure, names: Sequence[str]) -> None:
    """A legend of all classes below the panels, in as many columns as the figure's width holds; the figure grows by it.

    Args:
        figure: with layout="constrained", as high as its panels alone want to be.
        names: of the classes, styled by `styles`.
    """
    labels = [wrap_name(name, LINE_CHARS) for name in names]
    widest = max(len(line) for label in labels for line in label.splitlines())
    columns = min(len(names), max(1, int((figure.get_figwidth() - 0.2) / (widest * CHAR_WIDTH + KEY_WIDTH))))
    down = -(-len(names) // columns)  # of the legend's entries, which it lists column by column
    lines = max(
        sum(1 + label.count("\n") for label in labels[start : start + down]) for start in range(0, len(labels), down)
    )
    figure.set_figheight(figure.get_figheight() + 0.25 + lines * LINE_HEIGHT + down * ENTRY_GAP)
    handles = [
        Line2D([], [], linestyle="", color=style.colour, marker=style.marker, markersize=6)
        for style in class_styles(len(names))
    ]
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.2,
    )
