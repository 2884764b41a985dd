"""The kNN monitor against a loop over images, and the representation monitors against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_accuracy, knn_scores
from simclr_med.evaluation.representation import alignment, effective_rank, feature_std, uniformity


def test_scores_equal_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(7, 5, generator=generator), torch.randn(20, 5, generator=generator)
    labels = torch.randint(0, 3, (20,), generator=generator)
    scores = knn_scores(queries, bank, torch.nn.functional.one_hot(labels, 3).float(), k=6, temperature=0.07, chunk=3)
    for query, score in zip(queries, scores, strict=True):
        cosines = [(torch.dot(query, row) / query.norm() / row.norm()).item() for row in bank]
        nearest = sorted(range(20), key=lambda i: -cosines[i])[:6]
        expected = [sum(math.exp(cosines[i] / 0.07) for i in nearest if labels[i] == c) for c in range(3)]
        torch.testing.assert_close(score, torch.tensor(expected) / sum(expected), atol=1e-5, rtol=1e-4)


def test_a_bank_smaller_than_k() -> None:
    scores = knn_scores(torch.randn(2, 4), torch.randn(3, 4), torch.eye(3), k=20, temperature=0.1)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2))


def test_accuracy_of_single_and_multi_label_targets() -> None:
    assert knn_accuracy(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == 0.5
    assert knn_accuracy(torch.tensor([[0.9, 0.8], [0.2, 0.8]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])) == 0.75


def test_features_come_in_order_and_the_mode_is_kept() -> None:
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3), torch.nn.BatchNorm1d(3))
    encoder.mean = torch.zeros(1, 3, 1, 1)
    images = np.arange(7 * 12, dtype=np.uint8).reshape(7, 2, 2, 3)

    def to_float(batch: torch.Tensor) -> torch.Tensor:
        return batch.permute(0, 3, 1, 2).float() / 255

    one = extract_features(encoder, images, to_float, torch.device("cpu"), batch_size=3)
    whole = extract_features(encoder, images, to_float, torch.device("cpu"), batch_size=100)
    torch.testing.assert_close(one, whole)
    assert encoder.training
    assert encoder[2].num_batches_tracked == 0


def test_alignment() -> None:
    rows = torch.randn(6, 4)
    assert alignment(rows, 3 * rows).item() == pytest.approx(0, abs=1e-6)
    assert alignment(rows, -rows).item() == pytest.approx(4, abs=1e-5)


def test_uniformity_equals_a_loop() -> None:
    rows = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    terms = [math.exp(-2 * (rows[i] - rows[j]).square().sum()) for i in range(9) for j in range(i)]
    assert uniformity(rows).item() == pytest.approx(math.log(sum(terms) / len(terms)), abs=1e-5)
    assert uniformity(torch.ones(5, 3)).item() == pytest.approx(0, abs=1e-5)


def test_effective_rank() -> None:
    assert effective_rank(torch.eye(8)).item() == pytest.approx(8, rel=1e-5)
    assert effective_rank(torch.ones(30, 8)).item() == pytest.approx(1, abs=1e-3)
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).double()
    p = torch.linalg.svdvals(rows)
    p = p / p.sum()
    assert effective_rank(rows).item() == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)
    assert effective_rank(rows.T).item() == pytest.approx(effective_rank(rows).item(), rel=1e-6)
    for value in (math.nan, math.inf):
        assert math.isnan(effective_rank(torch.tensor([[1.0, value], [0.0, 1.0]])))


def test_feature_std() -> None:
    assert feature_std(torch.ones(10, 4)).item() == 0
    spread = feature_std(torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))).item()
    assert spread == pytest.approx(1 / 8, rel=0.02)
