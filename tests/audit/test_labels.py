"""A label is worth a check if neighbours and classifier together contradict it."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.audit.labels import LEAST_RATIO, combine_evidence, count_votes, find_label_errors
from simclr_med.audit.neighbours import Nearest


def confident(labels: list[int], doubted: dict[int, list[float]]) -> np.ndarray:
    """Probabilities of three classes: 0.9 for the label, but for some images as given."""
    probabilities = np.full((len(labels), 3), 0.05)
    probabilities[np.arange(len(labels)), labels] = 0.9
    for image, row in doubted.items():
        probabilities[image] = row
    return probabilities


def neighbours(labels: list[int], voted: dict[int, int]) -> Nearest:
    """Four neighbours of each image: of its own class, but for some images of the given class."""
    by_class = {k: [image for image, label in enumerate(labels) if label == k] for k in set(labels)}
    rows = [
        [other for other in by_class[voted.get(image, label)] if other != image][:4]
        for image, label in enumerate(labels)
    ]
    return Nearest(np.array(rows), np.ones((len(labels), 4)))


LABELS = [0] * 6 + [1] * 6 + [2] * 6
SURE = [0.02, 0.95, 0.03]  # of class 1


def test_both_sources_count_and_the_least_probable_label_is_first() -> None:
    doubted = {0: SURE, 1: SURE, 3: [0.4, 0.5, 0.1], 14: [0.005, 0.99, 0.005]}
    nearest = neighbours(LABELS, {0: 1, 2: 1, 3: 1, 14: 1})
    found = list(find_label_errors(np.array(LABELS), confident(LABELS, doubted), nearest, "abc"))
    # 1: its neighbours support the label; 2: the classifier does; 3: the classifier is not sure.
    assert [one.image for one in found] == [14, 0]
    assert found[1].detail == (
        "labelled a, probably b: a classifier gives 95% against 2.0%, the 4 nearest images 4 votes against 0"
    )
    scores = [one.score for one in found]
    assert scores == sorted(scores)


def test_one_very_sure_source_is_enough() -> None:
    """The classifier gives the label next to nothing; the neighbours are divided."""
    votes = np.array([[2, 2, 0], [4, 0, 0]])
    joint = combine_evidence(np.array([0, 1]), np.array([[1e-4, 0.99, 0.0099], [0.5, 0.3, 0.2]]), votes)
    assert joint.sum(axis=1) == pytest.approx([1, 1])
    assert joint[0, 1] > LEAST_RATIO * joint[0, 0]


def test_evidence_is_the_geometric_mean() -> None:
    labels = np.array([0, 0, 1])  # shares 2/3 and 1/3: 4/3 and 2/3 votes are added
    joint = combine_evidence(labels, np.array([[0.8, 0.2]] * 3), np.array([[1, 3]] * 3))
    first, second = (0.8 * (1 + 4 / 3)) ** 0.5, (0.2 * (3 + 2 / 3)) ** 0.5
    assert joint[0] == pytest.approx([first / (first + second), second / (first + second)])


def test_votes_are_those_of_the_neighbours() -> None:
    nearest = Nearest(np.array([[1, 2], [0, 2], [0, 1]]), np.ones((3, 2)))
    assert count_votes(np.array([0, 2, 2]), nearest, 3).tolist() == [[0, 0, 2], [1, 0, 1], [1, 0, 1]]


def test_right_labels_are_left_alone() -> None:
    found = find_label_errors(np.array(LABELS), confident(LABELS, {}), neighbours(LABELS, {}), "abc")
    assert list(found) == []


def test_a_class_without_images_is_never_suggested() -> None:
    labels = [0] * 6 + [1] * 6
    probabilities = np.tile([0.05, 0.05, 0.9], (12, 1))
    nearest = neighbours(labels, {})
    assert list(find_label_errors(np.array(labels), probabilities, nearest, "abc")) == []


def test_many_classes_that_are_all_improbable_are_no_finding() -> None:
    """With 20 classes, an image of which nothing is known has a label with a probability of 5 %."""
    labels = np.arange(40) % 20
    nearest = Nearest((np.arange(40)[:, None] + np.arange(1, 5)) % 40, np.ones((40, 4)))
    assert list(find_label_errors(labels, np.full((40, 20), 0.05), nearest, "abcdefghijklmnopqrst")) == []


def test_planted_errors_come_first() -> None:
    """Two classes that overlap a little: among the first 10 of 400 images are most of 10 exchanged labels."""
    generator = np.random.default_rng(0)
    truth = np.arange(400) % 2
    values = truth * 4.0 + generator.normal(size=400)
    labels = truth.copy()
    flipped = generator.choice(400, 10, replace=False)
    labels[flipped] = 1 - labels[flipped]
    second = 1 / (1 + np.exp(-3 * (values - 2)))
    distance = np.abs(values[:, None] - values)
    np.fill_diagonal(distance, np.inf)
    nearest = Nearest(np.argsort(distance, axis=1)[:, :10], np.ones((400, 10)))
    found = [one.image for one in find_label_errors(labels, np.stack([1 - second, second], axis=1), nearest, "ab")]
    assert len(set(found[:10]) & set(flipped.tolist())) >= 6
    assert len(set(found) & set(flipped.tolist())) >= 8
    assert len(found) < 40
