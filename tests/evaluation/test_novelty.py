"""Scores of foreign images against scikit-learn and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from simclr_med.evaluation.novelty import energy, mahalanobis, neighbour_distance
from simclr_med.types import MULTI_LABEL

BANK = np.random.default_rng(0).normal(size=(60, 5)) * [1, 2, 3, 1, 1]
QUERIES = np.random.default_rng(1).normal(size=(9, 5)) * 4


def test_mahalanobis_is_that_of_scikit_learn() -> None:
    classes = np.arange(60) % 3 * 2  # the class 1 has no image
    centred = np.concatenate([BANK[classes == k] - BANK[classes == k].mean(0) for k in (0, 2, 4)])
    fitted = LedoitWolf(assume_centered=True).fit(centred)
    each = [fitted.mahalanobis(QUERIES - BANK[classes == k].mean(0)) for k in (0, 2, 4)]
    found = mahalanobis(torch.from_numpy(BANK), classes, torch.from_numpy(QUERIES))
    assert found == pytest.approx(np.min(each, axis=0))


def test_few_images_of_many_features_have_finite_distances() -> None:
    bank, queries = torch.randn(6, 50), torch.randn(4, 50)
    assert np.isfinite(mahalanobis(bank, np.arange(6), queries)).all()


@pytest.mark.parametrize("neighbours", [1, 7, 1000])
def test_neighbours_are_those_of_scikit_learn(neighbours: int) -> None:
    bank, queries = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (BANK, QUERIES))
    distances, _ = NearestNeighbors(n_neighbors=min(neighbours, 60)).fit(bank).kneighbors(queries)
    found = neighbour_distance(torch.from_numpy(BANK), torch.from_numpy(QUERIES), neighbours)
    assert found == pytest.approx(distances[:, -1])


def test_energy_is_that_of_numpy() -> None:
    logits = torch.from_numpy(QUERIES)
    assert energy("multi-class", logits) == pytest.approx(-logsumexp(QUERIES, axis=1))
    assert energy(MULTI_LABEL, logits) == pytest.approx(-np.log1p(np.exp(QUERIES)).sum(axis=1))
