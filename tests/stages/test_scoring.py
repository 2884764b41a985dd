"""The final scoring: what is recorded of a model's answers, and what is said beside the numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.data.npz import Npz
from simclr_med.errors import DataError
from simclr_med.metrics import classification
from simclr_med.stages.scoring import (
    Scored,
    load_labels,
    require_task,
    save_predictions,
    score_predictions,
    score_test_split,
    summary_rows,
)

NAMES = ("a", "b", "c")
MULTI = "multi-label, binary-class"


def answers(images: int = 30, classes: int = 3, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).random((images, classes))
    return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


def labels(images: int = 30, classes: int = 3) -> np.ndarray:
    return np.arange(images)[:, None] % classes


def test_every_score_is_recorded_with_its_split_and_intervals_hold_it() -> None:
    found = score_predictions("multi-class", labels(), answers(), NAMES, labels(), resamples=200)
    expected = classification.compute_scores("multi-class", labels(), answers())
    assert found.metrics == {f"test/{name}": value for name, value in expected.items()} | {"train/missing_classes": 0}
    assert found.notes == []
    for name in ("test/accuracy", "test/auroc", "test/balanced_accuracy"):
        low, high = found.intervals[name]
        assert low < found.metrics[name] < high
    assert found.tables["classes"] == list(NAMES)
    assert np.array(found.tables["confusion_matrix"]).sum() == 30
    assert np.diag(found.tables["confusion_matrix"]).sum() / 30 == pytest.approx(expected["accuracy"])
    assert sum(found.tables["reliability"]["count"]) == 30
    assert all(x is None or 0 <= x <= 1 for x in found.tables["reliability"]["accuracy"])
    assert None in found.tables["reliability"]["accuracy"], "an empty bin is null, which JSON knows, and not NaN"


def test_intervals_are_the_same_each_time_and_need_no_resamples_for_accuracy_and_auroc() -> None:
    one, two = (score_predictions("multi-class", labels(), answers(), NAMES, None, 50).intervals for _ in range(2))
    assert one == two
    assert score_predictions("multi-class", labels(), answers(), NAMES, None, 0).intervals.keys() == {
        "test/accuracy",
        "test/auroc",
    }


def test_a_class_without_test_images_is_left_out_of_auroc_and_named() -> None:
    two = labels(classes=2)
    found = score_predictions("multi-class", two, answers(), NAMES, labels(), 0)
    each = classification.auroc_per_class("multi-class", two, answers())
    assert math.isnan(each[2])
    assert found.metrics["test/auroc"] == pytest.approx(each[:2].mean())
    assert "test/recall/2" not in found.metrics
    assert found.notes == ["AUROC of c is not defined by the test labels; test/auroc is the mean over the others."]


def test_a_class_that_was_not_trained_is_named_and_auroc_given_without_it_too() -> None:
    found = score_predictions("multi-class", labels(), answers(), NAMES, labels(classes=2), 0)
    each = classification.auroc_per_class("multi-class", labels(), answers())
    assert found.metrics["test/auroc"] == pytest.approx(each.mean())
    assert found.metrics["test/auroc_trained_classes"] == pytest.approx(each[:2].mean())
    (note,) = found.notes
    assert note.startswith("no training image of c in this subset")


def test_a_label_without_positive_training_images_is_named() -> None:
    truth = np.random.default_rng(1).integers(0, 2, (30, 3))
    trained = truth * [1, 0, 1]
    found = score_predictions(MULTI, truth, answers(), NAMES, trained, 0)
    each = classification.auroc_per_class(MULTI, truth, answers())
    assert found.metrics["test/auroc_trained_classes"] == pytest.approx(each[[0, 2]].mean())
    assert "no training image of b" in found.notes[0]
    assert len(found.tables["confusion_matrix"]) == 3


def test_a_binary_set_trained_on_one_class_has_no_mean_over_the_others() -> None:
    found = score_predictions("binary-class", labels(classes=2), answers(classes=2), NAMES[:2], labels(classes=1), 0)
    assert "test/auroc" in found.metrics
    assert "test/auroc_trained_classes" not in found.metrics


def test_scores_that_are_no_numbers_are_not_recorded() -> None:
    found = Scored({"test/a": 1.0}, {}, {}).with_metrics({"b": 2.0, "c": math.nan})
    assert found.metrics == {"test/a": 1.0, "b": 2.0}


def test_predictions_are_the_same_bytes_each_time_and_can_be_read_back(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_predictions(tmp_path / f"{name}.npz", "multi-class", answers(), labels(), NAMES)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as content:
        assert content["probabilities"].dtype == np.float32
        assert np.array_equal(content["probabilities"], answers())
        assert np.array_equal(content["labels"], labels())
        assert tuple(content["classes"]) == NAMES
        assert str(content["task"]) == "multi-class"


@pytest.fixture
def source(noisy: Path) -> Npz:
    return Npz("noisy", str(noisy), None, None)


def test_predictions_are_kept_and_every_note_is_recorded(source: Npz, tmp_path: Path, capsys: Any) -> None:
    found = score_test_split(source, labels(classes=2), lambda: answers(24), tmp_path, 0, ["of the run"])
    with np.load(tmp_path / "predictions.npz") as content:
        assert np.array_equal(content["labels"], source.labels("test"))
        assert classification.accuracy("multi-class", content["labels"], content["probabilities"]) == found.metrics[
            "test/accuracy"
        ]  # fmt: skip
    notes = found.tables["notes"]
    assert notes[0] == "of the run"
    assert notes[1].startswith("no training image of 2")
    assert capsys.readouterr().out == f"{notes[1]}\n", "the run's own notes have been said before"


def test_labels_that_are_missing_are_one_line(arrays, tmp_path: Path) -> None:
    data = arrays()
    del data["test_labels"]
    np.savez(tmp_path / "a.npz", **data)
    with pytest.raises(DataError, match="test labels are required for stage=test") as caught:
        load_labels(Npz("a", str(tmp_path / "a.npz"), None, None), "test", "test")
    assert "\n" not in str(caught.value)
    np.savez(tmp_path / "b.npz", **{name: array for name, array in data.items() if name.endswith("images")})
    with pytest.raises(DataError, match="labels are required for stage=probe"):
        require_task(Npz("b", str(tmp_path / "b.npz"), None, None), "probe")


def test_the_summary_shows_each_main_score_with_its_interval() -> None:
    rows = summary_rows(Scored({"test/accuracy": 0.5, "test/auroc": 0.25}, {"test/accuracy": (0.4, 0.6)}, {}))
    assert rows == {
        "test accuracy": "0.500  [0.400, 0.600]",
        "test AUROC": "0.250",
        "in brackets": "95 % interval over test images",
    }
    assert summary_rows(Scored({"test/auroc": 0.25}, {}, {})) == {"test AUROC": "0.250"}
