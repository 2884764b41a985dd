"""The figure of training curves and the sheet of views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from simclr_med.plots.training import plot_training_curves, plot_views
from simclr_med.report.diagnostic_figures import _pool_bins
from simclr_med.report.result_tables import Reliability
from simclr_med.report.score_figures import plot_label_efficiency
from simclr_med.stages.pretrain import PANELS
from simclr_med.training.simclr import METRICS


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The saved figures."""
    saved: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **more: Any) -> None:
        saved.append(figure)
        save(figure, *arguments, **more)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def table(path: Path, epochs: int, *more: str) -> Path:
    """A metrics.csv whose metrics all have the epoch's number as value; those on validation in every tenth row."""
    names = [*METRICS, *more]
    lines = [",".join(["epoch", "step", *names, "wall_s"])]
    for epoch in range(epochs):
        cells = [str(epoch) if name.startswith("train/") or epoch % 10 == 9 else "" for name in names]
        lines.append(",".join([str(epoch), str(epoch), *cells, "1"]))
    path.write_text("\n".join([*lines, ""]))
    return path


def shown(figure: Figure) -> dict[str, Any]:
    """Return the line of each metric by its label."""
    return {str(line.get_label()): line for axis in figure.axes for line in axis.lines}


@pytest.mark.parametrize("epochs", [10, 1000])
def test_every_metric_is_drawn_over_all_epochs(figures: list[Figure], tmp_path: Path, epochs: int) -> None:
    target = tmp_path / "training.png"
    plot_training_curves(table(tmp_path / "metrics.csv", epochs, "train/later"), target, PANELS)
    assert target.read_bytes().startswith(b"\x89PNG")
    lines = shown(figures[0])
    assert set(lines) == {*METRICS, "train/later"}
    assert list(lines["train/loss"].get_xdata()) == list(range(1, epochs + 1))
    assert list(lines["train/loss"].get_ydata()) == list(range(epochs))
    assert list(lines["val/loss"].get_xdata()) == list(range(10, epochs + 1, 10))
    assert "train/later" in [axis.get_title() for axis in figures[0].axes]


def test_one_epoch_is_drawn_as_a_dot(figures: list[Figure], tmp_path: Path) -> None:
    plot_training_curves(table(tmp_path / "metrics.csv", 1), tmp_path / "training.png", PANELS)
    lines = shown(figures[0])
    assert set(lines) == {name for name in METRICS if name.startswith("train/")}
    assert all(line.get_marker() == "o" for line in lines.values())
    visible = [axis for axis in figures[0].axes if axis.axison]
    for axis in visible:
        low, high = axis.get_xlim()
        assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]
    assert len(visible) == len([names for _, names in PANELS if set(names) & set(lines)])


def test_lines_of_a_panel_differ_in_colour_and_line_style(figures: list[Figure], tmp_path: Path) -> None:
    plot_training_curves(table(tmp_path / "metrics.csv", 20), tmp_path / "training.png", (("all", METRICS[:4]),))
    (panel,) = [axis for axis in figures[0].axes if axis.get_title() == "all"]
    assert len({line.get_color() for line in panel.lines}) == len({line.get_linestyle() for line in panel.lines}) == 4
    assert [text.get_text() for text in panel.get_legend().get_texts()] == list(METRICS[:4])


def test_infinite_values_and_missing_epochs_are_gaps(figures: list[Figure], tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,wall_s\n0,2,1.0,1\n1,4,inf,2\n5,12,2.0,3\n")
    plot_training_curves(path, tmp_path / "training.png", PANELS)
    line = shown(figures[0])["train/loss"]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 6], [1.0, 2.0])
    assert figures[0].axes[0].get_xlim()[1] > 6


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_is_an_image_and_its_views(figures: list[Figure], tmp_path: Path, channels: int) -> None:
    generator = np.random.default_rng(0)
    originals = generator.integers(0, 256, (3, 8, 8, channels)).astype(np.uint8)
    views = generator.random((3, 2, 8, 8, channels), dtype=np.float32)
    plot_views(originals, views, tmp_path / "views.png", "augmentation=novel")
    pictures = [np.asarray(axis.images[0].get_array()) for axis in figures[0].axes]
    assert len(pictures) == 9
    assert np.array_equal(pictures[3], originals[1].squeeze())
    assert np.array_equal(pictures[5], views[1, 1].squeeze())


def test_reliability_bins_need_enough_predictions_per_seed() -> None:
    """The seeds share their test images, so five predictions of three images are not enough."""
    bins = Reliability(np.array([3, 20]), np.array([0.5, 0.9]), np.array([1 / 3, 0.8]))
    for seeds in (1, 5):
        confidence, accuracy = _pool_bins([bins] * seeds)
        assert confidence == pytest.approx([0.9])
        assert accuracy == pytest.approx([0.8])


def test_score_axis_is_limited_to_the_range_of_scores() -> None:
    cells = [("probe", seed, budget, score) for budget in ("n50", "n100") for seed, score in ((0, 0.1), (1, 0.99))]
    rows = pd.DataFrame(cells, columns=["kind", "seed", "budget", "test/accuracy"]).assign(
        data="cells",
        encoder="tiny",
        method="probe",
        origin="",
        foundation="",
        selected_by="",
        start=[f"encoder {seed}" for seed in (0, 1, 0, 1)],
        share=0.0,
        test_images=100,
        class_counts=[()] * 4,
        intervals=[{}] * 4,
        **{"train/images": [50, 50, 100, 100]},
    )
    (chart,) = plot_label_efficiency(rows.assign(**{"test/auroc": rows["test/accuracy"]}))
    for axis in chart.figure.axes:
        low, high = axis.get_ylim()
        assert -0.02 <= low < high <= 1.02


def test_marks_are_drawn_in_the_colour_of_their_metric(figures: list[Figure], tmp_path: Path) -> None:
    marks = {"val/knn_accuracy": ("untrained encoder", 3.5), "train/top1": ("chance", 0.25)}
    plot_training_curves(table(tmp_path / "metrics.csv", 20), tmp_path / "training.png", PANELS, marks)
    lines = shown(figures[0])
    for name, (label, value) in marks.items():
        mark = lines[f"{name}, {label}"]
        assert set(mark.get_ydata()) == {value}
        assert mark.get_color() == lines[name].get_color()
    first = figures[0].axes[0]
    assert first.get_title() == "kNN and linear probe on validation"
    assert [text.get_text() for text in first.get_legend().get_texts()] == [
        "val/knn_accuracy",
        "val/knn_accuracy, untrained encoder",
        "val/probe_auroc",
    ]
