"""Class names of the twelve MedMNIST sets, and of 2 to 14 classes, fit into the figures without overlap."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from simclr_med.plots.class_counts import build_class_counts, plot_class_counts
from simclr_med.plots.embeddings import plot_pca, plot_projections
from simclr_med.plots.image_grids import Tile, plot_gallery, plot_sequences
from simclr_med.plots.style import list_class_styles, wrap_name

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from contact_sheet import draw_panels, load_class_names

sys.path.pop(0)
NAMES = load_class_names()
HARDEST = ("chestmnist", "bloodmnist", "14 classes")
SLACK = 1.0  # pixels


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures after layout, without writing them."""
    figures: list[Figure] = []

    def savefig(figure: Figure, target: Any) -> None:
        figure.set_dpi(72)
        figure.draw_without_rendering()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every visible text with its box in pixels."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axis in figure.axes:
        found += [axis.title, *axis.texts, *(axis.get_legend().get_texts() if axis.get_legend() else [])]
        if axis.axison:
            found += [axis.xaxis.label, axis.yaxis.label, *ticks(axis.xaxis, 0), *ticks(axis.yaxis, 1)]
    return [(text.get_text(), text.get_window_extent()) for text in found if text.get_text().strip()]


def ticks(side: Any, place: int) -> list[Any]:
    """Return the visible tick labels."""
    low, high = sorted(side.get_view_interval())
    labels = [tick.label1 for tick in side.get_major_ticks() if tick.label1.get_visible()]
    return [label for label in labels if low <= label.get_position()[place] <= high]


def assert_texts_fit(figure: Figure) -> None:
    places, whole = texts(figure), figure.bbox
    assert places
    for text, box in places:
        inside = min(box.x0, box.y0) >= -SLACK and box.x1 <= whole.x1 + SLACK and box.y1 <= whole.y1 + SLACK
        assert inside, f"{text} is cut"
    for (one, a), (two, b) in itertools.combinations(places, 2):
        assert not overlap(a, b), f"{one} lies over {two}"
    for legend, axis in itertools.product(figure.legends, figure.axes):
        assert not overlap(legend.get_window_extent(), axis.bbox), "the legend lies over a panel"


def overlap(one: Bbox, two: Bbox) -> bool:
    across = min(one.x1, two.x1) - max(one.x0, two.x0)
    down = min(one.y1, two.y1) - max(one.y0, two.y0)
    return across > SLACK and down > SLACK


@pytest.mark.parametrize(
    "name", {names: name for name, names in NAMES.items()}.values()
)  # the organ sets share their names
def test_legends_fit(drawn: list[Figure], name: str) -> None:
    plot_projections({"perplexity 30": draw_panels(NAMES[name])}, NAMES[name], Path("none"))
    assert_texts_fit(drawn[0])
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert len(set(labels)) == len(labels) == len(NAMES[name])


@pytest.mark.parametrize("name", HARDEST)
def test_other_figures_fit(drawn: list[Figure], name: str) -> None:
    names = NAMES[name]
    both = draw_panels(names)
    plot_pca(0.5 ** np.arange(1, 12), both, names, Path("none"))
    plot_projections({"perplexity 5": both[:1], "perplexity 30": both[1:]}, names, Path("none"))
    counts = {split: [k * 99_999 for k in range(len(names))] for split in ("train", "val", "test")}
    plot_class_counts(build_class_counts(names, counts, dict.fromkeys(counts, 9_999_999)), Path("none"))
    row = [Tile(np.zeros((28, 28, 3), np.uint8), f"0.97 {one}") for one in names[:9]]
    plot_gallery([row, row], Path("none"), "a title\nof two lines", ["head"] * len(row))
    views = np.zeros((6, 5, 28, 28, 3))
    sheet = (np.zeros((6, 28, 28, 3), np.uint8), [*names, *names, *names][:6])
    plot_sequences(*sheet, {"novel": views, "greyscale (as set here)": views}, Path("none"))
    assert len(drawn) == 5
    for figure in drawn:
        assert_texts_fit(figure)


def test_every_class_has_its_own_style() -> None:
    for count in range(1, 50):
        assert len(set(list_class_styles(count))) == count
    assert len({style.marker for style in list_class_styles(7)}) == 1, "up to seven classes differ in colour only"
    assert list_class_styles(14)[:7] == list_class_styles(7)


def test_long_names_are_wrapped_and_shortened() -> None:
    name = "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)"
    lines = wrap_name(name, 20, lines=2).splitlines()
    assert lines == ["immature", "granulocytes …"]
    assert wrap_name("platelet", 20) == "platelet"


def test_the_check_finds_overlapping_and_cut_texts() -> None:
    figure = Figure(figsize=(3, 3))
    figure.text(0.5, 0.5, "one")
    figure.text(0.52, 0.5, "two")
    figure.draw_without_rendering()
    with pytest.raises(AssertionError, match="lies over"):
        assert_texts_fit(figure)
    figure = Figure(figsize=(3, 3))
    figure.text(0.95, 0.5, "far too long for this place")
    figure.draw_without_rendering()
    with pytest.raises(AssertionError, match="is cut"):
        assert_texts_fit(figure)


def test_names_are_drawn_literally(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ["cost $5 & $6_{", r"$\frac{$", "x^2 $y$"]
    plot_class_counts(build_class_counts(names, {"train": [1, 2, 3]}, {"train": 6}), tmp_path / "counts.png")
    assert [text.get_text() for text in drawn[0].axes[0].get_yticklabels()] == names
    assert not any(text.get_parse_math() for text in drawn[0].axes[0].get_yticklabels())


def test_missing_glyphs_do_not_warn(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from simclr_med.plots.class_counts import plot_class_counts, build_class_counts\n"
        r"plot_class_counts(build_class_counts(['\U000e0100 \u7ec6'], {'train': [1]}, {'train': 1}), Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
