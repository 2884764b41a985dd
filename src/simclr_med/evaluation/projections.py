"""Two-dimensional maps of features by PCA, t-SNE and UMAP, and the separation of the classes in them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

FEWEST = 4  # images of a map: t-SNE needs two, the spectral start of umap-learn needs four
SEEDS = 2**32  # that scikit-learn takes; a run's seed may be larger
UMAP_NEIGHBOURS = 15  # McInnes et al. 2018: the default of their umap-learn


@dataclass(frozen=True)
class Principal:
    """The principal components of some features.

    Attributes:
        shares: of the variance, float64 in [0, 1], one a component, falling.
        mean_D, axes_CD: what `coordinates` subtracts, and the components, float64.
    """

    shares: np.ndarray
    mean_D: np.ndarray
    axes_CD: np.ndarray

    def coordinates(self, features_ND: np.ndarray, components: int) -> np.ndarray:
        """Return float32 [N, C] coordinates in the first components, or in all where there are fewer."""
        return ((features_ND.astype(np.float64) - self.mean_D) @ self.axes_CD[:components].T).astype(np.float32)


def fit_pca(features_ND: np.ndarray) -> Principal:
    """Return all principal components, exact and with scikit-learn's signs.

    Raises:
        ValueError: all features are equal, so that no direction is a principal one.
    """
    features = features_ND.astype(np.float64)
    if np.allclose(features, features[0], rtol=1e-6, atol=1e-12):
        raise ValueError("features: all rows are equal. Use features that differ.")
    fitted = PCA(svd_solver="full").fit(features)
    return Principal(fitted.explained_variance_ratio_, fitted.mean_, fitted.components_)


def usable_perplexities(perplexities: Sequence[float], points: int) -> list[float]:
    """Return the perplexities limited to what the number of points allows, in order and without repetitions.

    t-SNE uses 3 x perplexity neighbours of each point (van der Maaten 2014, section 3).
    """
    return list(dict.fromkeys(min(float(value), max(1.0, (points - 1) // 3)) for value in perplexities))


def tsne(coordinates_NC: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Return the t-SNE map float32 [N, 2] (van der Maaten 2014, Barnes-Hut), started from the first two components.

    Args:
        coordinates_NC: float32, in the first principal components.
        perplexity: at least 1, less than N.
        seed: of the random numbers.
    """
    method = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed % SEEDS)
    # One thread: the map is reproducible, and ten times as fast as with two beside other processes, which spin.
    with threadpool_limits(1):
        return np.asarray(method.fit_transform(coordinates_NC), dtype=np.float32)


def is_umap_installed() -> bool:
    """Return whether the package umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def umap(coordinates_NC: np.ndarray, seed: int) -> np.ndarray:
    """Return the UMAP map float32 [N, 2] (McInnes et al. 2018), with umap-learn's defaults."""
    from umap import UMAP

    method = UMAP(n_neighbors=min(UMAP_NEIGHBOURS, len(coordinates_NC) - 1), random_state=seed % SEEDS, n_jobs=1)
    return np.asarray(method.fit_transform(coordinates_NC), dtype=np.float32)


def silhouette(rows_ND: np.ndarray, groups_N: np.ndarray, metric: str) -> float:
    """Return the mean silhouette of the groups (Rousseeuw 1987), in [-1, 1]; NaN where it is undefined.

    Args:
        rows_ND: features, or coordinates.
        groups_N: int; the silhouette needs two groups or more, and fewer groups than rows.
        metric: ``cosine`` (as for nearest neighbours) or ``euclidean``.
    """
    if not 2 <= len(np.unique(groups_N)) < len(groups_N):
        return float("nan")
    return float(silhouette_score(rows_ND, groups_N, metric=metric))
