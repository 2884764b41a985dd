"""Features brought down to the plane by PCA, t-SNE and UMAP, and how far classes lie apart in them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

FEWEST = 4  # images of a map: t-SNE takes two or more, umap-learn starts from the spectrum of four or more
UMAP_NEIGHBOURS = 15  # McInnes et al. 2018: the default of their umap-learn


@dataclass(frozen=True)
class Principal:
    """The principal components of some features.

    Attributes:
        shares: of the variance, float64, one a component, falling.
        mean_D, axes_CD: what `coordinates` takes away, and the components, float64.
    """

    shares: np.ndarray
    mean_D: np.ndarray
    axes_CD: np.ndarray

    def coordinates(self, features_ND: np.ndarray, components: int) -> np.ndarray:
        """float32 [N, C] in the first components, or in all where there are fewer."""
        return ((features_ND.astype(np.float64) - self.mean_D) @ self.axes_CD[:components].T).astype(np.float32)


def fit_pca(features_ND: np.ndarray) -> Principal:
    """All principal components of features that differ, exact and with the signs that scikit-learn gives them.

    Raises:
        ValueError: all features are the same, so that no direction is a principal one.
    """
    features = features_ND.astype(np.float64)
    if np.allclose(features, features[0], rtol=1e-6, atol=1e-12):
        raise ValueError("features: must differ; all of them are the same.")
    fitted = PCA(svd_solver="full").fit(features)
    return Principal(fitted.explained_variance_ratio_, fitted.mean_, fitted.components_)


def usable_perplexities(wanted: Sequence[float], points: int) -> list[float]:
    """Those that so many points allow, in order and each once: one that asks for more neighbours than there are becomes
    the largest that does not.

    t-SNE looks at 3 x perplexity neighbours of each point (van der Maaten 2014, section 3).
    """
    return list(dict.fromkeys(min(float(value), max(1.0, (points - 1) // 3)) for value in wanted))


def tsne(coordinates_NC: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten 2014, Barnes-Hut) into float32 [N, 2], started from the first two components.

    Args:
        coordinates_NC: float32, in the first principal components.
        perplexity: at least 1, less than N.
        seed: what is left to chance.
    """
    method = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    # One thread: the same map each time, and beside other processes ten times as fast as two, which wait by spinning.
    with threadpool_limits(1):
        return np.asarray(method.fit_transform(coordinates_NC), dtype=np.float32)


def is_umap_installed() -> bool:
    """Whether the package umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def umap(coordinates_NC: np.ndarray, seed: int) -> np.ndarray:
    """UMAP (McInnes et al. 2018) into float32 [N, 2], with its own defaults."""
    from umap import UMAP

    method = UMAP(n_neighbors=min(UMAP_NEIGHBOURS, len(coordinates_NC) - 1), random_state=seed, n_jobs=1)
    return np.asarray(method.fit_transform(coordinates_NC), dtype=np.float32)


def silhouette(rows_ND: np.ndarray, groups_N: np.ndarray, metric: str) -> float:
    """Mean silhouette of the groups (Rousseeuw 1987), in [-1, 1]; NaN when it is not defined.

    Args:
        rows_ND: features, or coordinates.
        groups_N: int; it takes at least two groups, and fewer groups than rows.
        metric: cosine, as neighbours are found, or euclidean.
    """
    if not 2 <= len(np.unique(groups_N)) < len(groups_N):
        return float("nan")
    return float(silhouette_score(rows_ND, groups_N, metric=metric))
