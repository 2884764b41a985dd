"""A student's run: a classifier like any other, which reads no label that it need not read, and resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.errors import DataError
from simclr_med.metrics_csv import read_rows
from simclr_med.training.callbacks import checkpoint

QUICK = ("schedule.warmup_epochs=0", "stage.batch_size=16", "stage.resamples=0", "stage.epochs=2")
FILES = ("predictions.npz", "encoder.safetensors", "head.safetensors")

Staged = Callable[..., Path]


@pytest.fixture
def teacher(staged: Staged) -> Path:
    """A classifier that knows 20 labels."""
    return staged("baseline", *QUICK, "stage.min_steps=0", "data_fraction.samples=20")


def test_student_is_a_classifier_run_with_the_labels_of_its_teacher(staged, result, teacher: Path, capsys) -> None:
    folder = staged("distill", *QUICK, "data_fraction.samples=20", f"stage.teacher={teacher}")
    assert "stage=distill dataset=noisy: 48 training images" in capsys.readouterr().out
    found = result(folder)
    own = found["metrics"]
    assert (own["train/images"], own["val/images"], own["budget/labels"]) == (20, 0, 20)
    assert own["train/steps"] == 6
    assert found["provenance"]["teacher"]["run"] == teacher.name
    again = staged("test", f"stage.run={folder}", "stage.resamples=0")
    assert result(again)["metrics"]["test/auroc"] == own["test/auroc"]
    grandchild = staged("distill", *QUICK, "data_fraction.samples=20", f"stage.teacher={folder}", "stage.temperature=2")
    assert result(grandchild)["metrics"]["budget/labels"] == 20


def write(path: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez(path, **content)
    return path


def test_labels_of_the_training_images_are_not_used(staged, teacher: Path, arrays, tmp_path: Path) -> None:
    content = arrays()
    shuffled = {**content, "train_labels": np.roll(content["train_labels"], 1, axis=0)}
    words = ("distill", *QUICK, "data_fraction.samples=20", f"stage.teacher={teacher}")
    folders = [
        staged(*words, path=write(tmp_path / "noisy.npz", content)),
        staged(*words, path=write(tmp_path / "other.npz", shuffled)),
    ]
    one, other = (np.load(folder / "predictions.npz")["probabilities"] for folder in folders)
    assert folders[0] != folders[1]
    assert np.array_equal(one, other)
    mixed = staged(*words, "stage.alpha=0.5", path=tmp_path / "noisy.npz")
    assert not np.array_equal(one, np.load(mixed / "predictions.npz")["probabilities"])


def test_other_classes_than_the_teachers_are_refused(staged, teacher: Path, arrays, tmp_path: Path) -> None:
    path = write(tmp_path / "four.npz", arrays(classes=4))
    with pytest.raises(DataError, match="expected the model's classes"):
        staged("distill", *QUICK, "data_fraction.samples=20", f"stage.teacher={teacher}", path=path)


class Killed(Exception):
    """Stands for a signal."""


@pytest.mark.process
def test_interrupted_student_ends_like_an_uninterrupted_one(
    staged, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("distill", *QUICK, "stage.epochs=3", "stage.checkpoint_every_s=0", "data_fraction.samples=20")
    words = (*words, f"stage.teacher={teacher}", "stage.alpha=0.7", "stage.temperature=0.5")
    whole = staged(*words)
    save = checkpoint.AtomicCheckpointIO.save_checkpoint

    def save_and_die(self: Any, content: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(self, content, path, storage_options)
        if content["epoch"] == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.AtomicCheckpointIO, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            staged(*words, f"paths.runs={tmp_path / 'again'}")
    again = staged(*words, f"paths.runs={tmp_path / 'again'}")
    losses = [[row["train/loss"] for row in read_rows(folder / "metrics.csv")] for folder in (whole, again)]
    assert losses[0] == losses[1]
    for name in FILES:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
