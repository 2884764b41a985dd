"""The table of predictions: its rows, their order and their content."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.evaluation.predictions import Predictions, select_rows, to_table
from simclr_med.metrics import classification
from simclr_med.types import MULTI_LABEL

CLASSES = ("red", "green", "blue")


def build_predictions(images: int = 40, labelled: bool = True) -> Predictions:
    generator = np.random.default_rng(0)
    odds = generator.random((images, 3)).astype(np.float32)
    labels = generator.integers(0, 3, (images, 1)) if labelled else None
    return Predictions("multi-class", CLASSES, odds / odds.sum(axis=1, keepdims=True), labels)


@pytest.mark.parametrize(("images", "most"), [(40, 7), (40, 40), (5, 40), (1, 1)])
def test_rows_are_evenly_spaced_and_limited(images: int, most: int) -> None:
    rows = np.sort(select_rows(build_predictions(images), most))
    assert len(rows) == min(images, most) == len(set(rows.tolist()))
    gaps = np.diff(rows)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
    assert rows[0] == 0
    assert most == 1 or rows[-1] == images - 1


def test_the_most_confident_errors_come_first() -> None:
    given = build_predictions()
    rows = select_rows(given, 40)
    right, confidence = given.is_correct_N[rows], given.confidence_N[rows]
    wrong = int((~right).sum())
    assert 0 < wrong < 40
    assert not right[:wrong].any()
    for part in (confidence[:wrong], confidence[wrong:]):
        assert (np.diff(part) <= 0).all()
    assert select_rows(build_predictions(labelled=False), 40).tolist() == list(range(40)), (
        "nothing is right or wrong there"
    )


def test_rows_agree_with_the_metrics() -> None:
    given = build_predictions()
    columns, rows = to_table(given, np.arange(40))
    assert columns == ["row", "true", "predicted", "right", "confidence", *(f"probability/{c}" for c in CLASSES)]
    found = classification.y_pred(given.task, given.probabilities_NK)
    for n, row in enumerate(rows):
        assert row[:3] == [n, CLASSES[given.labels_NL[n, 0]], CLASSES[found[n]]]
        assert row[4] == pytest.approx(given.probabilities_NK[n].max(), abs=1e-4)
        assert row[5:] == pytest.approx(given.probabilities_NK[n].tolist(), abs=1e-4)
    accuracy = classification.accuracy(given.task, given.labels_NL, given.probabilities_NK)
    assert np.mean([row[3] for row in rows]) == pytest.approx(accuracy)


def test_images_without_labels_have_names_and_no_label_columns() -> None:
    given = Predictions("binary-class", ("no", "yes"), np.array([[0.7, 0.3], [0.2, 0.8]]), names=("a.png", "b.png"))
    columns, rows = to_table(given, select_rows(given, 9))
    assert columns == ["row", "file", "predicted", "confidence", "probability/no", "probability/yes"]
    assert rows == [[0, "a.png", "no", 0.7, 0.7, 0.3], [1, "b.png", "yes", 0.8, 0.2, 0.8]]


def test_multi_label_predictions_are_correct_in_all_labels_with_the_lowest_confidence() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
    given = Predictions(MULTI_LABEL, CLASSES, np.array([[0.9, 0.2, 0.6], [0.1, 0.1, 0.4], [0.9, 0.1, 0.1]]), labels)
    _, rows = to_table(given, np.arange(3))
    assert [row[1:5] for row in rows] == [
        ["red|blue", "red|blue", True, 0.6],
        ["", "", True, 0.6],
        ["red|green", "red", False, 0.9],
    ]
