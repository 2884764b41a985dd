"""Scores against medmnist's own Evaluator and scikit-learn, on random probabilities of every task."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from medmnist.evaluator import getACC, getAUC
from sklearn import metrics as sklearn_metrics

from simclr_med.metrics import classification, intervals
from simclr_med.types import Task

TASKS = get_args(Task)


def drawn(task: Task, count: int = 300, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return random labels and probabilities that are better than chance."""
    generator = np.random.default_rng(seed)
    if task == "multi-label, binary-class":
        labels = generator.integers(0, 2, (count, 5))
        probabilities = np.clip(generator.random((count, 5)) * 0.8 + labels * 0.2, 0, 1)
    else:
        classes = 2 if task == "binary-class" else 4
        labels = generator.integers(0, classes, (count, 1))
        probabilities = generator.random((count, classes)) + 0.5 * (labels == np.arange(classes))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, np.round(probabilities, 1) if ties else probabilities.astype(np.float32)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("ties", [False, True])
def test_accuracy_and_auroc_equal_medmnist(task: Task, seed: int, ties: bool) -> None:
    labels, probabilities = drawn(task, seed=seed, ties=ties)
    assert classification.accuracy(task, labels, probabilities) == pytest.approx(
        getACC(labels, probabilities, task), abs=1e-12
    )
    assert classification.auroc(task, labels, probabilities) == pytest.approx(
        getAUC(labels, probabilities, task), abs=1e-12
    )


@pytest.mark.parametrize("task", [t for t in TASKS if "multi-label" not in t])
def test_scores_equal_scikit_learn(task: Task) -> None:
    labels, probabilities = drawn(task)
    scores, predicted = (
        classification.compute_scores(task, labels, probabilities),
        classification.y_pred(task, probabilities),
    )
    y = labels[:, 0]
    assert scores["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(y, predicted))
    assert scores["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y, predicted, average="macro"))
    assert scores["nll"] == pytest.approx(sklearn_metrics.log_loss(y, probabilities.astype(np.float64)), abs=1e-6)
    recalls = sklearn_metrics.recall_score(y, predicted, average=None)
    assert [scores[f"recall/{k}"] for k in range(len(recalls))] == pytest.approx(recalls)
    assert (
        classification.confusion_matrix(task, labels, probabilities)
        == sklearn_metrics.confusion_matrix(y, predicted).tolist()
    )


def test_multi_label_scores_are_means_over_the_labels() -> None:
    task: Task = "multi-label, binary-class"
    labels, probabilities = drawn(task)
    scores, predicted = (
        classification.compute_scores(task, labels, probabilities),
        classification.y_pred(task, probabilities),
    )
    columns = range(labels.shape[1])
    balanced = [sklearn_metrics.balanced_accuracy_score(labels[:, k], predicted[:, k]) for k in columns]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert scores["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    losses = [sklearn_metrics.log_loss(labels[:, k], probabilities[:, k].astype(np.float64)) for k in columns]
    assert scores["nll"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert np.shape(classification.confusion_matrix(task, labels, probabilities)) == (5, 2, 2)


def test_calibration_error_of_known_predictions() -> None:
    # Two predictions with confidence 0.9, one correct: |0.5 - 0.9|; two with 0.6, both correct: |1 - 0.6|.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([[0], [1], [1], [1]])
    assert classification.calibration_error("binary-class", labels, probabilities) == pytest.approx(0.4)
    bins = classification.reliability_bins("binary-class", labels, probabilities)
    assert sum(bins["count"]) == 4
    assert bins["accuracy"][13] == 0.5


def test_perfect_predictions() -> None:
    labels = np.array([[0], [1], [2], [1]])
    found = classification.compute_scores("multi-class", labels, np.eye(3)[labels[:, 0]])
    ideal = {"calibration_error": 0, "nll": 0}
    assert found == pytest.approx({name: ideal.get(name, 1) for name in found})


def test_class_without_images_is_left_out_of_the_mean() -> None:
    labels = np.array([[0], [1], [0], [1]])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
    assert np.isnan(classification.auroc_per_class("multi-class", labels, probabilities)[2])
    assert classification.auroc("multi-class", labels, probabilities) == 1
    assert classification.balanced_accuracy("multi-class", labels, probabilities) == 1
    assert np.isnan(classification.recall_per_class("multi-class", labels, probabilities)[2])
    single: Any = np.zeros((4, 1), dtype=int)
    assert np.isnan(classification.auroc("multi-class", single, probabilities[:, :1]))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("ties", [False, True])
def test_bootstrap_equals_scoring_each_resample(task: Task, ties: bool) -> None:
    labels, probabilities = drawn(task, count=40, ties=ties)
    generator = np.random.default_rng([3, 40])
    drawn_rows = generator.integers(0, 40, (50, 40))
    naive = [classification.compute_scores(task, labels[rows], probabilities[rows]) for rows in drawn_rows]
    found = intervals.bootstrap(task, labels, probabilities, 50, seed=3)
    assert set(found) == {"balanced_accuracy", "macro_f1"}
    for name, (low, high) in found.items():
        assert (low, high) == pytest.approx(np.quantile([row[name] for row in naive], [0.025, 0.975]), abs=1e-9), name


def test_bootstrap_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = drawn("multi-class", count=50)
    whole = intervals.bootstrap("multi-class", labels, probabilities, 60, seed=0)
    monkeypatch.setattr(intervals, "_BLOCK_SIZE", 50 * 7)
    for name, interval in intervals.bootstrap("multi-class", labels, probabilities, 60, seed=0).items():
        assert interval == pytest.approx(whole[name])
