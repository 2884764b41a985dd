"""How classes are told apart in pictures: by colour and marker together, under names that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simclr_med.reporting.figures import COLOURS

# No more than seven colours are told apart by every reader: the next seven classes have another marker instead.
MARKERS = ("o", "^", "s", "X", "D", "P", "v")
# Of images without labels, and of what is neither right nor wrong.
GREY = "#767676"
# Right and wrong, the two colours of the palette that differ most in lightness and hue.
RIGHT, WRONG = COLOURS[0], COLOURS[1]

_LEGEND_CHARS = 30  # of a line of a legend
_CHARS_PER_INCH = 15.5  # of a legend's 8 points
_KEY_CHARS = 6  # what a legend's marker and gap take


class Style(NamedTuple):
    """Colour and marker of one class."""

    colour: str
    marker: str


def styles(count: int) -> list[Style]:
    """A style of its own for each of up to 49 classes; more of them begin again."""
    return [
        Style(COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]) for index in range(count)
    ]


def wrapped(name: str, width: int, lines: int = 3) -> str:
    """A name in a few lines of so many characters, cut with an ellipsis when it is longer still."""
    return textwrap.fill(name, width, max_lines=lines, placeholder=" …", break_on_hyphens=True)


def legend(figure: Figure, names: Sequence[str], title: str | None = None) -> Any:
    """A legend of all classes below the panels, in as many columns as the figure's width holds.

    Args:
        figure: with layout="constrained", which makes room.
        names: of the classes, styled by `styles`.
        title: above it.
    """
    labels = [wrapped(name, _LEGEND_CHARS) for name in names]
    widest = max(len(line) for label in labels for line in label.splitlines())
    columns = int(figure.get_figwidth() * _CHARS_PER_INCH) // (widest + _KEY_CHARS)
    handles = [
        Line2D([], [], linestyle="", color=style.colour, marker=style.marker, markersize=6)
        for style in styles(len(names))
    ]
    return figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(names), max(1, columns)),
        fontsize=8,
        frameon=False,
        title=title,
        handletextpad=0.3,
        columnspacing=1.2,
    )
