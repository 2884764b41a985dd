"""ProbCover: label the images first whose neighbourhoods cover most others (Yehuda et al. 2022, arXiv 2205.11320).

Shape letters: N images, D features, B images of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from simclr_med.evaluation.label_order import Available, Candidates, Order
from simclr_med.streams import Stream


def probcover(
    candidates: Candidates, rounds: Sequence[int], seed: int, clusters: int, purity: float, most_images: int
) -> Order:
    """Choose the image with most uncovered images inside its radius, again and again (algorithm 1 of the paper).

    The radius is the largest one at which a fraction ``purity`` of the neighbourhoods lies inside one cluster of
    k-means (section 3.2), and at least the median distance to the nearest image. When no neighbourhood covers two more
    images, the radius is halved and coverage by the chosen images is counted again. When no two images are that close,
    the rest is chosen at random.

    Args:
        candidates: the images.
        rounds: sizes of the selection; the last one is the number of images chosen.
        seed: of k-means, of ties and of the sample.
        clusters, purity: of the radius.
        most_images: that are considered; a sample of a larger set.
    """
    generator = np.random.default_rng([seed, Stream.SELECTION])
    whole_ND = candidates.features()
    sample_N = np.sort(generator.permutation(len(whole_ND))[:most_images])
    features_ND, available = whole_ND[sample_N], Available(candidates.twins_N[sample_N])
    ties_N, order = generator.random(len(features_ND)), Order()
    radius, closest = _measure_radius(features_ND, clusters, purity, int(generator.integers(2**31)))
    order.facts["radius"] = f"{radius:.3f}"
    chosen: list[int] = []
    while len(chosen) < rounds[-1] and available.mask_N.any():
        cover = _Cover(features_ND, radius, chosen)
        while len(chosen) < rounds[-1] and available.mask_N.any():
            gains_N = np.where(available.mask_N, cover.gains_N + ties_N, -1)
            best = int(gains_N.argmax())
            gain = int(cover.gains_N[best])
            if gain < 2 and radius > closest:
                radius /= 2
                break
            chosen.append(best)
            order.add(int(sample_N[best]), score=gain)
            available.remove(best)
            cover.add(best)
    return order


class _Cover:
    """Which images the chosen ones cover.

    Args:
        features_ND: of all images.
        radius: of the neighbourhood that an image covers.
        chosen: images that are chosen already.

    Attributes:
        gains_N: number of uncovered images that each image would cover.
    """

    def __init__(self, features_ND: np.ndarray, radius: float, chosen: Sequence[int]) -> None:
        nearest = NearestNeighbors(radius=radius, algorithm="brute").fit(features_ND)
        self._near = nearest.radius_neighbors(features_ND, return_distance=False)
        self._uncovered_N = np.ones(len(features_ND), bool)
        self.gains_N = np.array([len(rows) for rows in self._near])
        for row in chosen:
            self.add(row)

    def add(self, row: int) -> None:
        """Choose an image."""
        new = self._near[row][self._uncovered_N[self._near[row]]]
        self._uncovered_N[new] = False
        for covered in new:
            self.gains_N[self._near[covered]] -= 1


def _measure_radius(features_ND: np.ndarray, clusters: int, purity: float, seed: int) -> tuple[float, float]:
    """Return the radius, and the smallest distance between two different images."""
    count = min(clusters, len(np.unique(features_ND, axis=0)))
    clusters_N = KMeans(count, n_init=1, random_state=seed).fit_predict(features_ND)
    blocks = list(_measure_nearest(features_ND, clusters_N))
    nearest_N, other_N = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    pure = np.quantile(other_N, 1 - purity) if count > 1 else 0.0
    radius = max(pure, np.median(nearest_N))
    positive = nearest_N[nearest_N > 0]
    return float(radius), float(positive.min()) if len(positive) else 0.0


def _measure_nearest(features_ND: np.ndarray, clusters_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the distance of each image of a block to the nearest other image, and to that of another cluster."""
    start = 0
    for distances_BN in pairwise_distances_chunked(features_ND):
        rows = np.arange(start, start + len(distances_BN))
        distances_BN[np.arange(len(rows)), rows] = np.inf
        nearest_B = distances_BN.min(axis=1)
        distances_BN[clusters_N[rows][:, None] == clusters_N[None, :]] = np.inf
        yield nearest_B, distances_BN.min(axis=1)
        start += len(rows)
