"""The task of a predictions.npz is the stored one, or inferred from an older file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simclr_med.report.prediction_files import read_predictions

LABELS = np.array([[0], [1], [2]])
PROBABILITIES = np.eye(3, dtype=np.float32)


def test_stored_task_is_used(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, labels=LABELS, probabilities=PROBABILITIES, task="ordinal-regression")
    task, labels, probabilities = read_predictions(path)
    assert task == "ordinal-regression"
    assert np.array_equal(labels, LABELS)
    assert np.array_equal(probabilities, PROBABILITIES)


@pytest.mark.parametrize(
    ("labels", "probabilities", "task"),
    [
        (LABELS, PROBABILITIES, "multi-class"),
        (LABELS % 2, PROBABILITIES[:, :2], "binary-class"),
        (np.eye(3, dtype=int), PROBABILITIES, "multi-label, binary-class"),
    ],
)
def test_task_of_an_older_file_is_inferred(
    tmp_path: Path, labels: np.ndarray, probabilities: np.ndarray, task: str
) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, labels=labels, probabilities=probabilities)
    assert read_predictions(path)[0] == task


def test_unknown_task_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, labels=LABELS, probabilities=PROBABILITIES, task="regression")
    with pytest.raises(ValueError, match="unknown task 'regression'"):
        read_predictions(path)
