"""Signs that images of one patient (or slide, or camera) stand in several splits, where no CSV names the patients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simclr_med.audit.duplicates import CANDIDATES, Pairs
from simclr_med.audit.findings import Finding
from simclr_med.audit.neighbours import Nearest
from simclr_med.audit.pool import Pool

LEAST_ISOLATION = 0.4  # of `measure_isolation`
LEAST_ADVANTAGE = 0.02  # of the nearest neighbour over the linear classifier, the lower end of its 95 % interval


def measure_isolation(pairs: Pairs) -> float:
    """Return how far the nearest image stands out among the nearest few: the median over all images, as Fisher z.

    Sets that were split by patient have 0.18 to 0.30 (skin lesions, blood cells, chest X-rays), slices of brains of 233
    patients in one collection 0.65.

    Args:
        pairs: of `simclr_med.audit.duplicates.compare_candidates`.
    """
    images = int(pairs.first_P.max()) + 1
    upright_NK = pairs.detail_P[: images * min(CANDIDATES, images - 1)].reshape(images, -1)
    z_NK = np.arctanh(np.clip(upright_NK, -0.999, 0.999))
    return float(np.median(z_NK.max(axis=1) - z_NK.min(axis=1)))


def find_isolation(isolation: float) -> Iterator[Finding]:
    """Yield a finding if the images of the set form groups of near relatives."""
    if isolation >= LEAST_ISOLATION:
        yield Finding(
            "shared_source",
            "most images have a relative that is far closer than the next ones, as slices of one patient are (distance "
            f"{isolation:.2f}; below {LEAST_ISOLATION} in sets that were split by patient)",
            score=isolation,
        )


def nearest_elsewhere(pool: Pool, nearest: Nearest) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that have a neighbour in another split among their nearest, and the nearest such neighbour."""
    elsewhere_NK = pool.split_N[nearest.rows_NK] != pool.split_N[:, None]
    images = np.flatnonzero(elsewhere_NK.any(axis=1))
    return images, nearest.rows_NK[images, elsewhere_NK[images].argmax(axis=1)]


def find_label_advantage(
    pool: Pool, labels_N: np.ndarray, probabilities_NK: np.ndarray, nearest: Nearest, twins: set[int]
) -> Iterator[Finding]:
    """Yield a finding if the nearest image of another split knows the label better than a linear classifier does.

    Where images of a patient are shared, the nearest one is often the same patient's and has the same label; a linear
    classifier profits less. The two are compared on the same images, without those that have a twin.

    Args:
        pool: the images.
        labels_N: class of each image.
        probabilities_NK: of linear classifiers on the same features that did not see the image.
        nearest: other images.
        twins: images with an exact or near duplicate.
    """
    images, others = nearest_elsewhere(pool, nearest)
    kept = np.array([image not in twins for image in images], bool)
    images, others = images[kept], others[kept]
    if len(images) < 2:
        return
    by_neighbour = labels_N[others] == labels_N[images]
    by_classifier = probabilities_NK[images].argmax(axis=1) == labels_N[images]
    gain_N = by_neighbour.astype(float) - by_classifier
    gain, half = float(gain_N.mean()), 1.96 * float(gain_N.std(ddof=1)) / len(gain_N) ** 0.5
    if gain - half > LEAST_ADVANTAGE:
        yield Finding(
            "shared_source",
            f"the nearest image of another split has the right label for {by_neighbour.mean():.0%} of the images, a "
            f"linear classifier for {by_classifier.mean():.0%} (difference {100 * gain:+.1f} points, 95 % interval "
            f"{100 * (gain - half):+.1f} to {100 * (gain + half):+.1f})",
            score=gain,
        )
