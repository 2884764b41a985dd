"""PCA against its definition, reproducible maps, and the silhouette where it is defined."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.evaluation.projections import fit_pca, is_umap_installed, silhouette, tsne, umap, usable_perplexities


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """60 rows of 10 features in three clusters that lie far apart."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 20)
    return (8 * generator.normal(size=(3, 10))[groups] + generator.normal(size=(60, 10))).astype(np.float32), groups


def test_principal_components_are_the_eigenvectors_of_the_covariance(clusters) -> None:
    rows = clusters[0].astype(np.float64)
    found = fit_pca(clusters[0])
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    np.testing.assert_allclose(found.shares, values[::-1] / values.sum(), rtol=1e-6)
    np.testing.assert_allclose(np.abs((found.axes_CD * vectors[:, ::-1].T).sum(axis=1)), 1, rtol=1e-6)
    places = found.coordinates(clusters[0], 2)
    np.testing.assert_allclose(places.var(axis=0, ddof=1), values[::-1][:2], rtol=1e-4)
    assert found.coordinates(clusters[0], 50).shape == (60, 10)


def test_features_that_are_all_the_same_have_no_components() -> None:
    with pytest.raises(ValueError, match="all rows are equal"):
        fit_pca(np.full((20, 4), 0.3, np.float32))


@pytest.mark.parametrize(
    ("wanted", "points", "expected"),
    [
        ([30], 2000, [30]),
        ([5, 30, 50], 60, [5, 19]),
        ([30], 24, [7]),
        ([30], 3, [1]),
        ([5, 5.0], 100, [5]),
        ([], 9, []),
    ],
)
def test_perplexities_are_limited_by_the_number_of_points(
    wanted: list[float], points: int, expected: list[float]
) -> None:
    found = usable_perplexities(wanted, points)
    assert found == expected
    assert all(value < points for value in found)


def test_tsne_keeps_clusters_apart_and_is_reproducible(clusters) -> None:
    rows, groups = clusters
    one = tsne(rows, 10, seed=0)
    assert one.shape == (60, 2)
    assert np.array_equal(one, tsne(rows, 10, seed=0))
    assert np.array_equal(one, tsne(rows, 10, seed=2**32)), "scikit-learn takes 32 bits"
    assert silhouette(one, groups, "euclidean") > 0.5


def test_umap_keeps_clusters_apart_and_is_reproducible(clusters) -> None:
    if not is_umap_installed():
        pytest.skip("the extra analyse is not installed")
    rows, groups = clusters
    one = umap(rows, seed=0)
    assert np.array_equal(one, umap(rows, seed=0))
    assert np.array_equal(one, umap(rows, seed=2**32))
    assert silhouette(one, groups, "euclidean") > 0.5


def test_silhouette_by_hand_and_undefined() -> None:
    rows, groups = np.array([[0.0], [1.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    within, apart = np.array([1, 1, 2, 2]), np.array([11, 10, 9.5, 11.5])
    assert silhouette(rows, groups, "euclidean") == pytest.approx(((apart - within) / apart).mean())
    assert np.isnan(silhouette(rows, np.zeros(4, int), "euclidean"))
    assert np.isnan(silhouette(rows, np.arange(4), "euclidean"))
