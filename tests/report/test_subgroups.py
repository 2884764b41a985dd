"""Scores of subgroups and confounders, from the files of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn
from sklearn.metrics import roc_auc_score

from simclr_med.report.cells import NONE
from simclr_med.report.collect import collect_runs
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import build_content
from simclr_med.report.subgroups import build_confounder_table, build_subgroup_table

Add = Callable[..., Path]


def write_subgroups(folder: Path, values: list[str]) -> None:
    """Write the column scanner of the test images."""
    (folder / "subgroups.csv").write_text("scanner\n" + "".join(f"{value}\n" for value in values), encoding="utf-8")


def test_each_value_has_its_score_and_its_gap(add: Add, runs: Path) -> None:
    values = ["A"] * 150 + ["B"] * 141 + ["C"] * 9
    aurocs: dict[str, list[float]] = {"A": [], "rest": []}
    for seed in range(3):
        labels, probabilities = drawn(1.0, seed, images=300)
        probabilities[150:] = drawn(0.0, seed, images=300)[1][150:]  # scanner B is guessed
        folder = add("probe", seed=seed, predictions=(labels, probabilities))
        for name, rows in (("A", np.arange(150)), ("rest", np.arange(150, 300))):
            each = [roc_auc_score(labels[rows, 0] == k, probabilities[rows, k]) for k in range(3)]
            aurocs[name].append(float(np.mean(each)))
    write_subgroups(folder, values)
    (table,) = build_subgroup_table(select_scored_runs(collect_runs(runs).table), read_predictions, [])
    numbers = table.numbers.set_index("value")
    assert numbers.loc["A", "auroc"] == pytest.approx(np.mean(aurocs["A"]))
    assert numbers.loc["A", "gap"] == pytest.approx(np.mean(aurocs["A"]) - np.mean(aurocs["rest"]))
    assert 0 < numbers.loc["A", "gap_low"] < numbers.loc["A", "gap"] < numbers.loc["A", "gap_high"]
    assert numbers.loc["B", "gap_high"] < 0
    shown = table.shown.set_index("value")
    assert list(shown["images"]) == ["150", "141", "9"]
    assert shown.loc["C", "AUROC"] == NONE  # no class has 10 images
    assert shown.loc["C", "minus the others, points"] == NONE


def test_damaged_files_are_a_note(add: Add, runs: Path) -> None:
    write_subgroups(add("probe"), ["A", "B"])
    rows, notes = select_scored_runs(collect_runs(runs).table), []
    assert build_subgroup_table(rows, read_predictions, notes) == []
    assert "has 2 rows and not 120" in notes[0]


def test_confounders_are_a_table_and_a_doubt(add: Add, runs: Path) -> None:
    folder = add("probe")
    head = "column,values,images,auroc,low,high\n"
    (folder / "confounders.csv").write_text(f"{head}scanner,2,120,0.95,0.9,0.98\nsex,2,120,0.52,0.4,0.6\n")
    (table,), doubts = build_confounder_table(select_scored_runs(collect_runs(runs).table), [])
    assert list(table.shown["AUROC"]) == ["0.950 [0.900, 0.980] (1 encoder)", "0.520 [0.400, 0.600] (1 encoder)"]
    assert doubts["cells"].short == "the features tell scanner (AUROC 0.95)"
    assert "the features tell scanner" in build_content(collect_runs(runs)).answers[0].questions[-1].short
    (folder / "confounders.csv").write_text(f"{head}scanner,2,many,0.95,0.9,0.98\n")
    notes: list[str] = []
    assert build_confounder_table(select_scored_runs(collect_runs(runs).table), notes) == ([], {})
    assert "confounders.csv" in notes[0]


def test_a_rare_class_does_not_take_part(add: Add, runs: Path) -> None:
    labels, probabilities = drawn(1.0, 0, images=300)
    labels[(labels[:, 0] == 2) & (np.arange(300) % 8 > 0)] = 0  # class 2 has few images
    write_subgroups(add("probe", predictions=(labels, probabilities)), ["A", "B"] * 150)
    (table,) = build_subgroup_table(select_scored_runs(collect_runs(runs).table), read_predictions, [])
    rows = np.arange(0, 300, 2)
    assert min((labels[rows] == 2).sum(), (labels[rows + 1] == 2).sum()) < 10
    expected = np.mean([roc_auc_score(labels[rows, 0] == k, probabilities[rows, k]) for k in (0, 1)])
    assert list(table.numbers["classes"]) == [2, 2]
    assert table.numbers["auroc"].iloc[0] == pytest.approx(expected)
