"""The monitors of pretraining: neighbours and a linear probe on validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from simclr_med.evaluation.monitors import LAMBDA, fallen_metrics, measure_encoder
from simclr_med.types import MULTI_LABEL, KnnSets

CPU = torch.device("cpu")
GENERATOR = np.random.default_rng(0)
BANK, QUERIES = (GENERATOR.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8) for count in (60, 40))


def flat(images: Tensor) -> Tensor:
    return images.flatten(1).float() / 255


class Flat(nn.Linear):
    """An encoder whose features are the pixels."""

    def __init__(self) -> None:
        super().__init__(16, 16, bias=False)
        nn.init.eye_(self.weight)
        self.mean = torch.zeros(1, 1, 1, 1)


def label_by_light(images: np.ndarray) -> np.ndarray:
    """Return labels 0, 1 or 2 by the brightness of the upper half, with noise."""
    light = images[:, :2].mean(axis=(1, 2, 3)) + GENERATOR.normal(0, 10, len(images))
    return np.digitize(light, (120, 135))


def test_nothing_is_measured_without_labels() -> None:
    assert measure_encoder(Flat(), None, flat, CPU, 3, 0.1) == {}  # type: ignore[arg-type]


def test_separated_classes_are_found() -> None:
    images = np.zeros((20, 4, 4, 1), np.uint8)
    images[10:] = 255
    images[:, 0, 0, 0] = 128
    targets = torch.eye(2).repeat_interleave(10, dim=0)
    sets = KnnSets(images, targets, images, targets, "multi-class")
    found = measure_encoder(Flat(), sets, flat, CPU, 5, 0.1)  # type: ignore[arg-type]
    assert found == {"val/knn_accuracy": 1.0, "val/probe_auroc": 1.0}


def test_probe_is_scikit_learns_logistic_regression_with_one_strength() -> None:
    labels, expected_labels = label_by_light(BANK), label_by_light(QUERIES)
    targets = [torch.nn.functional.one_hot(torch.from_numpy(one), 3).float() for one in (labels, expected_labels)]
    sets = KnnSets(BANK, targets[0], QUERIES, targets[1], "multi-class")
    found = measure_encoder(Flat(), sets, flat, CPU, 5, 0.1)  # type: ignore[arg-type]
    bank, queries = (images.reshape(len(images), -1) / 255 for images in (BANK, QUERIES))
    scaler = StandardScaler().fit(bank)
    model = LogisticRegression(C=1 / (LAMBDA * len(bank)), max_iter=1000, tol=1e-8)
    model.fit(scaler.transform(bank), labels)
    expected = roc_auc_score(expected_labels, model.predict_proba(scaler.transform(queries)), multi_class="ovr")
    assert found["val/probe_auroc"] == pytest.approx(expected, abs=1e-3)
    assert 0.6 < expected < 1


def test_each_label_of_a_multi_label_set_has_a_probe() -> None:
    labels = [
        np.stack([label_by_light(images) > 0, GENERATOR.integers(0, 2, len(images))], 1) for images in (BANK, QUERIES)
    ]
    targets = [torch.from_numpy(one).float() for one in labels]
    found = measure_encoder(Flat(), KnnSets(BANK, targets[0], QUERIES, targets[1], MULTI_LABEL), flat, CPU, 5, 0.1)  # type: ignore[arg-type]
    assert 0.5 < found["val/probe_auroc"] < 1


def test_probe_is_left_out_where_it_is_not_defined() -> None:
    one = torch.eye(3)[torch.zeros(40, dtype=torch.long)]
    bank = torch.eye(3)[torch.from_numpy(label_by_light(BANK))]
    found = measure_encoder(Flat(), KnnSets(BANK, bank, QUERIES, one, "multi-class"), flat, CPU, 5, 0.1)  # type: ignore[arg-type]
    assert set(found) == {"val/knn_accuracy"}
    diverged = Flat()
    nn.init.constant_(diverged.weight, float("nan"))
    queries = torch.eye(3)[torch.from_numpy(label_by_light(QUERIES))]
    sets = KnnSets(BANK, bank, QUERIES, queries, "multi-class")
    assert "val/probe_auroc" not in measure_encoder(diverged, sets, flat, CPU, 5, 0.1)  # type: ignore[arg-type]


def test_metrics_below_their_start_are_named() -> None:
    metrics = {"val/knn_accuracy": 0.4, "val/knn_accuracy_before": 0.5, "val/probe_auroc": 0.7}
    assert fallen_metrics(metrics) == ["val/knn_accuracy"]
    assert fallen_metrics(metrics | {"val/probe_auroc_before": 0.8}) == ["val/knn_accuracy", "val/probe_auroc"]
    assert fallen_metrics(metrics | {"val/knn_accuracy_before": 0.4, "val/probe_auroc_before": 0.6}) == []
    assert fallen_metrics({}) == []
