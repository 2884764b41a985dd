"""The checks of an audit, one after the other: those of the pixels, and those that need features and labels.

Shape letters: N images, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from simclr_med.audit.class_shares import count_classes, find_class_shift, find_rare_classes
from simclr_med.audit.duplicates import (
    STEPS,
    compare_candidates,
    find_exact_duplicates,
    find_near_duplicates,
    find_opposite_labels,
)
from simclr_med.audit.findings import TWINS, Finding
from simclr_med.audit.kinds import KINDS
from simclr_med.audit.labels import find_label_errors
from simclr_med.audit.neighbours import Nearest
from simclr_med.audit.pool import UNKNOWN, Pool
from simclr_med.audit.quality import find_poor_images
from simclr_med.audit.sources import find_label_advantage, measure_isolation

Progress = Callable[[int, int | None], None]
LEAST_IMAGES = 20  # for near duplicates: with fewer, the threshold has nothing to rest on


@dataclass(frozen=True)
class PixelCheck:
    """What the pixels alone tell.

    Attributes:
        findings: in no particular order.
        isolation: of `simclr_med.audit.sources.measure_isolation`; 0 for a set of few images.
    """

    findings: tuple[Finding, ...]
    isolation: float


def check_pixels(pool: Pool, names: Sequence[str], seed: int, show: Progress) -> PixelCheck:
    """Find duplicates, poor images, rare classes and shifts of class shares.

    Args:
        pool: the images.
        names: of the classes.
        seed: of the images that the features are fitted to.
        show: called with (steps done, all).
    """
    findings, isolation = list(find_exact_duplicates(pool)), 0.0
    if len(pool) >= LEAST_IMAGES:
        pairs = compare_candidates(pool, seed, lambda done: show(done, STEPS))
        findings += find_near_duplicates(pool, pairs)
        isolation = measure_isolation(pairs)
    findings += find_opposite_labels(pool, findings, names)
    findings += find_poor_images(pool)
    counts = count_classes(pool, len(names))
    findings += [*find_class_shift(counts, names), *find_rare_classes(counts, names)]
    return PixelCheck(tuple(findings), isolation)


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings in the order of their kinds; within a kind their order stays."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda one: rank[one.kind]))


def has_single_labels(pool: Pool) -> bool:
    """Return whether every image has one class, which the checks of labels need."""
    return pool.labels_NL is not None and pool.labels_NL.shape[1] == 1 and bool((pool.labels_NL != UNKNOWN).all())


def check_labels(
    pool: Pool,
    probabilities_NK: np.ndarray,
    nearest: Nearest,
    found: Sequence[Finding],
    names: Sequence[str],
) -> list[Finding]:
    """Find labels to check, and signs of patients that several splits share.

    Args:
        pool: images with one class each.
        probabilities_NK: of classifiers that did not see the image.
        nearest: images by the same features.
        found: by the pixels.
        names: of the classes.
    """
    assert pool.labels_NL is not None
    labels_N = pool.labels_NL[:, 0]
    twins = {image for one in found if one.kind in TWINS for image in one.images}
    return [
        *find_label_errors(labels_N, probabilities_NK, nearest, names),
        *find_label_advantage(pool, labels_N, probabilities_NK, nearest, twins),
    ]


def number_twins(pool: Pool, seed: int, show: Progress) -> np.ndarray:
    """Return a number for each image, int64 [N], that exact and near duplicates of it share.

    Args:
        pool, seed, show: as in `check_pixels`.
    """
    twins = list(find_exact_duplicates(pool))
    if len(pool) >= LEAST_IMAGES:
        twins += find_near_duplicates(pool, compare_candidates(pool, seed, lambda done: show(done, STEPS)))
    pairs_P2 = np.array([one.images for one in twins], np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs_P2)), pairs_P2.T), shape=(len(pool), len(pool)))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
