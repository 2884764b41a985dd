"""A label is worth a check if neighbours and classifier agree against it, and only then."""

from __future__ import annotations

import numpy as np

from simclr_med.audit.labels import find_label_errors
from simclr_med.audit.neighbours import Nearest


def confident(labels: list[int], doubted: dict[int, list[float]]) -> np.ndarray:
    """Probabilities of three classes: 0.9 for the label, but for some images as given."""
    probabilities = np.full((len(labels), 3), 0.05)
    probabilities[np.arange(len(labels)), labels] = 0.9
    for image, row in doubted.items():
        probabilities[image] = row
    return probabilities


def neighbours(labels: list[int], voted: dict[int, int]) -> Nearest:
    """Two neighbours of each image: of its own class, but for some images of the given class."""
    by_class = {k: [image for image, label in enumerate(labels) if label == k] for k in set(labels)}
    rows = [
        [other for other in by_class[voted.get(image, label)] if other != image][:2]
        for image, label in enumerate(labels)
    ]
    return Nearest(np.array(rows), np.ones((len(labels), 2)))


LABELS = [0] * 6 + [1] * 6 + [2] * 6
SURE = [0.02, 0.95, 0.03]  # of class 1


def test_both_detectors_have_to_agree() -> None:
    doubted = {0: SURE, 1: SURE, 3: [0.3, 0.6, 0.1], 4: [0.03, 0.45, 0.52], 14: [0.005, 0.99, 0.005]}
    nearest = neighbours(LABELS, {0: 1, 2: 1, 3: 1, 4: 1, 14: 1})
    found = list(find_label_errors(np.array(LABELS), confident(LABELS, doubted), nearest, "abc"))
    # 1: its neighbours support the label; 2: the classifier does; 3: the label is likely enough; 4: no class is sure.
    assert [one.image for one in found] == [14, 0], "the least probable label first"
    assert found[1].detail == "labelled a; a classifier says b (95% against 2.0%), as do 2 of 2 neighbours"
    assert found[1].score == 0.02


def test_right_labels_are_left_alone() -> None:
    found = find_label_errors(np.array(LABELS), confident(LABELS, {}), neighbours(LABELS, {}), "abc")
    assert list(found) == []


def test_a_class_without_images_is_never_suggested() -> None:
    labels = [0] * 6 + [1] * 6
    probabilities = np.tile([0.05, 0.05, 0.9], (12, 1))
    nearest = neighbours(labels, {0: 1})
    assert list(find_label_errors(np.array(labels), probabilities, nearest, "abc")) == []
