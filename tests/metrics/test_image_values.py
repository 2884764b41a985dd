"""The mean of the image values is the score, and their variance that of DeLong."""

from __future__ import annotations

import numpy as np
import pytest
from run_folders import drawn

from simclr_med.metrics import classification
from simclr_med.metrics.classification import infer_task
from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc, count_rarest

GENERATOR = np.random.default_rng(3)
BINARY = (GENERATOR.integers(0, 2, (50, 1)), np.round(GENERATOR.random((50, 1)), 1))
CASES = {
    "multi-class": drawn(1.0, 0),
    "binary-class": (BINARY[0], np.hstack([1 - BINARY[1], BINARY[1]])),
    "multi-label, binary-class": (GENERATOR.integers(0, 2, (60, 4)), np.round(GENERATOR.random((60, 4)), 1)),
}


@pytest.mark.parametrize("task", CASES)
def test_mean_of_the_image_values_is_the_score(task: str) -> None:
    labels, probabilities = CASES[task]
    assert infer_task(labels, probabilities) == task
    assert compute_image_accuracy(task, labels, probabilities).mean() == pytest.approx(
        classification.accuracy(task, labels, probabilities)
    )
    assert compute_image_auroc(task, labels, probabilities).mean() == pytest.approx(
        classification.auroc(task, labels, probabilities)
    )


def test_variance_of_the_pseudo_values_is_delongs() -> None:
    """Two-sided placements by their definition (DeLong et al. 1988, equation 5), ties half."""
    labels, probabilities = CASES["binary-class"]
    truth, score = labels[:, 0] == 1, probabilities[:, 1]
    wins = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    ones, zeros = wins.shape
    variance = wins.mean(axis=1).var(ddof=1) / ones + wins.mean(axis=0).var(ddof=1) / zeros
    values = compute_image_auroc("binary-class", labels, probabilities)
    assert values.var(ddof=1) / len(values) == pytest.approx(variance)


def test_classes_without_images_are_left_out() -> None:
    labels, probabilities = drawn(1.0, 0, classes=3)
    kept = labels[:, 0] != 2
    labels, probabilities = labels[kept], probabilities[kept]
    values = compute_image_auroc("multi-class", labels, probabilities)
    assert values.mean() == pytest.approx(classification.auroc("multi-class", labels, probabilities))
    assert np.isnan(compute_image_auroc("multi-class", labels * 0, probabilities)).all()


def test_rarest_side_of_a_problem_is_counted() -> None:
    labels = np.repeat([0, 1, 2], [30, 4, 26])[:, None]
    assert count_rarest("multi-class", labels, np.full((60, 4), 0.25)) == 4  # class 3 has no image and no AUROC
    assert count_rarest("binary-class", (labels != 1).astype(int), np.full((60, 2), 0.5)) == 4
    both = np.repeat([[1, 0], [1, 1]], [55, 5], axis=0)
    assert count_rarest("multi-label, binary-class", both, np.full((60, 2), 0.5)) == 5
