"""TypiClust: label the most typical image of each cluster first (Hacohen et al. 2022, arXiv 2202.02794, algorithm 1).

Shape letters: N images, D features, M images of a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from simclr_med.evaluation.label_order import Available, Candidates, Order
from simclr_med.streams import Stream

LEAST_IMAGES = 5  # of a cluster; smaller ones come last (the paper leaves them out)
LARGEST_EXACT = 20_000  # images up to which all of them take part in every step of k-means
NO_DISTANCE = 1e-5  # added to mean distances, since those of equal images are 0 (the authors' code)


def typiclust(candidates: Candidates, rounds: Sequence[int], seed: int, neighbours: int, most_clusters: int) -> Order:
    """Choose the most typical image of the largest cluster without a chosen image, again and again.

    Typicality is the inverse mean distance to the nearest images of the cluster. Each round clusters all images into as
    many clusters as it has images, and keeps those of the rounds before, as the batches of the paper do. So the
    selections are nested.

    Args:
        candidates: the images.
        rounds: sizes of the selection, increasing; the last one is the number of images chosen.
        seed: of k-means.
        neighbours: nearest images that typicality is measured with, at most half of the cluster.
        most_clusters: of a round.
    """
    features_ND, order, available = candidates.features(), Order(), Available(candidates.twins_N)
    distinct = len(np.unique(features_ND, axis=0))
    for number, size in enumerate(rounds):
        clusters_N = _cluster(features_ND, min(size, most_clusters, distinct), [seed, Stream.SELECTION, number])
        sizes_K = np.bincount(clusters_N)
        counts_K = np.bincount(clusters_N[order.rows], minlength=len(sizes_K))
        while len(order.rows) < size and available.mask_N.any():
            left_K = np.bincount(clusters_N[available.mask_N], minlength=len(sizes_K))
            keys = (-sizes_K, counts_K, sizes_K < LEAST_IMAGES, left_K == 0)  # the last one decides first
            cluster = int(np.lexsort(keys)[0])
            members_M = np.flatnonzero((clusters_N == cluster) & available.mask_N)
            typicality_M = measure_typicality(features_ND[members_M], neighbours)
            best = int(typicality_M.argmax())
            order.add(int(members_M[best]), size, cluster, float(typicality_M[best]))
            counts_K[cluster] += 1
            available.remove(int(members_M[best]))
    return order


def measure_typicality(features_MD: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the inverse mean distance of each image to its nearest other ones, float [M]; 0 for a single image."""
    count = min(neighbours, len(features_MD) // 2)
    if count == 0:
        return np.zeros(len(features_MD))
    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(features_MD)
    distances_MK, _ = nearest.kneighbors()  # without arguments, an image is not its own neighbour
    return np.asarray(1 / (distances_MK.mean(axis=1) + NO_DISTANCE))


def _cluster(features_ND: np.ndarray, count: int, key: Sequence[int]) -> np.ndarray:
    """Return the number of each image's cluster, int [N]."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    make = KMeans if len(features_ND) <= LARGEST_EXACT else MiniBatchKMeans
    return np.asarray(make(count, n_init=1, random_state=seed).fit_predict(features_ND))
