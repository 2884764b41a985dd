"""Calibration, abstaining and prediction sets of the report, from predictions with a known temperature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn
from scipy.special import softmax

from simclr_med.metrics.classification import calibration_error
from simclr_med.report.cells import NONE
from simclr_med.report.collect import collect_runs
from simclr_med.report.confidence import measure_confidence
from simclr_med.report.confidence_tables import build_confidence_tables, describe_miscalibration, plot_risk_coverage
from simclr_med.report.doubts import doubt_class_shares, doubt_data
from simclr_med.report.prediction_files import read_validated
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.runs.file_hashes import hash_files
from simclr_med.stages.scoring import Validated, save_predictions

Add = Callable[..., Path]


def draw(temperature: float, seed: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of a calibrated model, and its probabilities with the logits divided by a temperature."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, 3))
    labels = (rng.random((images, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1, keepdims=True)
    return np.minimum(labels, 2), softmax(logits / temperature, axis=1).astype(np.float32)


def save_validated(folder: Path, labels: np.ndarray, probabilities: np.ndarray, validated: Validated) -> None:
    """Replace the predictions of a run by some with validation images."""
    save_predictions(folder / "predictions.npz", "multi-class", probabilities, labels, ["a", "b", "c"], validated)
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    record["files"] = hash_files(folder)
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")


def add_overconfident(add: Add, budget: str = "full") -> tuple[np.ndarray, np.ndarray]:
    """Write a run whose logits are twice as large as those of a calibrated model; return its predictions."""
    labels, probabilities = draw(0.5, 1, 600)
    folder = add("probe", budget=budget, predictions=(labels, probabilities))
    val_labels, val_probabilities = draw(0.5, 2, 500)
    save_validated(folder, labels, probabilities, Validated(val_probabilities, val_labels))
    return labels, probabilities


def test_an_overconfident_model_is_found_and_repaired(add: Add, runs: Path) -> None:
    labels, probabilities = add_overconfident(add)
    notes: list[str] = []
    (found,) = measure_confidence(select_scored_runs(collect_runs(runs).table), notes)
    assert notes == []
    assert found.mean("error") == pytest.approx(calibration_error("multi-class", labels, probabilities))
    assert found.mean("temperature") == pytest.approx(2, rel=0.15)
    assert found.mean("scaled_error") < found.mean("error") / 2
    assert found.is_miscalibrated
    assert "1 badly calibrated method" in describe_miscalibration([found])["cells"].short
    assert 0.85 < found.mean("coverage") < 0.95
    calibration, sets = build_confidence_tables([found])
    assert float(calibration.shown["temperature"].item()) == pytest.approx(found.mean("temperature"), abs=0.005)
    wrong = (probabilities.argmax(axis=1) != labels[:, 0]).mean()
    assert calibration.shown["wrong of all"].item() == f"{100 * wrong:.1f} %"
    assert sets.shown["validation images"].item() == "500"
    (chart,) = plot_risk_coverage([found])
    assert chart.name == "risk_coverage_cells_tiny"


def test_runs_without_validation_images_have_no_sets(add: Add, runs: Path) -> None:
    add("probe")
    methods = measure_confidence(select_scored_runs(collect_runs(runs).table), [])
    (table,) = build_confidence_tables(methods)
    assert table.name == "confidence"
    assert table.shown["temperature"].item() == NONE


def test_validation_arrays_are_read_back_and_checked(tmp_path: Path) -> None:
    labels, probabilities = drawn(1.0, 0)
    path = tmp_path / "predictions.npz"
    save_predictions(path, "multi-class", probabilities, labels, ["a", "b", "c"])
    assert read_validated(path) is None
    save_predictions(path, "multi-class", probabilities, labels, "abc", Validated(probabilities[:7], labels[:7]))
    found = read_validated(path)
    assert found is not None
    assert (found[0] == labels[:7]).all()
    assert (found[1] == probabilities[:7]).all()
    save_predictions(path, "multi-class", probabilities, labels, "abc", Validated(probabilities[:7], labels[:6]))
    with pytest.raises(ValueError, match="val_labels and val_probabilities: expected integer labels"):
        read_validated(path)
    save_predictions(path, "multi-class", probabilities, labels, "abc", Validated(probabilities[:7] + 5, labels[:7]))
    with pytest.raises(ValueError, match="expected probabilities from 0 to 1"):
        read_validated(path)


def test_other_class_shares_in_validation_are_a_doubt(add: Add, runs: Path) -> None:
    labels, probabilities = drawn(1.0, 0, images=400)
    folder = add("probe", budget="full", predictions=(labels, probabilities))
    same = Validated(probabilities, labels)
    save_validated(folder, labels, probabilities, same)
    assert doubt_class_shares(select_scored_runs(collect_runs(runs).table)) == []
    save_validated(folder, labels, probabilities, Validated(probabilities[labels[:, 0] > 0], labels[labels[:, 0] > 0]))
    (doubt,) = doubt_class_shares(select_scored_runs(collect_runs(runs).table))
    share = (labels == 0).mean()
    assert f"{100 * share:.0f} % of the validation images" in doubt.sentence


def test_runs_of_different_files_are_a_doubt(add: Add, runs: Path) -> None:
    add("probe", seed=0)
    folder = add("baseline", seed=0)
    assert doubt_data(select_scored_runs(collect_runs(runs).table)) == []
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    content["provenance"]["data_hash"] = "sha256:123456"
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    (doubt,) = doubt_data(select_scored_runs(collect_runs(runs).table))
    assert "2 versions of this data set" in doubt.sentence
    assert "1 run of …123456" in doubt.sentence
