"""Colours, line styles, markers and legends of all figures."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Names of classes and data sets are drawn literally: a $ sign does not start a formula, ...
matplotlib.rcParams["text.parse_math"] = False
# ... and other scripts use an installed font that has them. A letter that no font has is drawn as a box, silently.
_SCRIPTS = {"Noto Sans", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic"}
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *sorted(_SCRIPTS.intersection(font_manager.get_font_names()))]
warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)

# The palette of Okabe and Ito, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# They distinguish the lines in a print without colours.
LINE_STYLES = ("-", "--", "-.", ":")
# Readers can distinguish at most seven colours, so the next seven classes use the same colours with another marker.
MARKERS = ("o", "^", "s", "X", "D", "P", "v")
LINE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# For images without labels, and for predictions without a true label.
GREY = "#767676"
# The two colours of the palette that differ most in lightness and hue.
CORRECT, WRONG = COLOURS[0], COLOURS[1]

LINE_CHARS = 30  # characters in a line of a legend
CHAR_WIDTH, KEY_WIDTH = 0.068, 0.42  # inches: an average character of 8 points, and a marker with its gaps
LINE_HEIGHT, ENTRY_GAP = 0.13, 0.06  # inches: a line of 8 points, and the gap between two entries


class Style(NamedTuple):
    """Colour and marker of one class."""

    colour: str
    marker: str


def line_style(number: int) -> dict[str, Any]:
    """Return matplotlib's arguments for the line of this number: colour, line style and marker."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "marker": LINE_MARKERS[number % len(LINE_MARKERS)],
        "markersize": 4,
    }


def list_class_styles(count: int) -> list[Style]:
    """Return a style per class; the first 49 styles are different."""
    return [
        Style(COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]) for index in range(count)
    ]


def wrap_name(name: str, width: int, lines: int = 3) -> str:
    """Return the name in at most this number of lines of width characters; an ellipsis replaces the rest."""
    return textwrap.fill(re.sub(r"(?<=\w)\(", " (", name), width, max_lines=lines, placeholder=" …")


def draw_legend(figure: Figure, names: Sequence[str]) -> None:
    """Add a legend of all classes below the panels, in as many columns as fit, and increase the figure's height.

    Args:
        figure: with layout="constrained"; its height before the call is that of the panels.
        names: of the classes, with the styles of `list_class_styles`.
    """
    labels = [wrap_name(name, LINE_CHARS) for name in names]
    widest = max(len(line) for label in labels for line in label.splitlines())
    columns = min(len(names), max(1, int((figure.get_figwidth() - 0.2) / (widest * CHAR_WIDTH + KEY_WIDTH))))
    down = -(-len(names) // columns)  # entries in a column; matplotlib fills the columns one by one
    lines = max(
        sum(1 + label.count("\n") for label in labels[start : start + down]) for start in range(0, len(labels), down)
    )
    figure.set_figheight(figure.get_figheight() + 0.25 + lines * LINE_HEIGHT + down * ENTRY_GAP)
    handles = [
        Line2D([], [], linestyle="", color=style.colour, marker=style.marker, markersize=6)
        for style in list_class_styles(len(names))
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
