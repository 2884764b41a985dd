"""Exact and near duplicates: candidates by features, checked pixel by pixel, with a threshold from the set itself.

Shape letters: N images, P pairs, S side in pixels, D features, K neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simclr_med.audit.findings import TWINS, Finding
from simclr_med.audit.matching import correlate, measure_detail
from simclr_med.audit.neighbours import ORIENTATIONS, PixelFeatures, find_nearest, find_turned, orient
from simclr_med.audit.pool import UNKNOWN, Pool

CANDIDATES = 5  # nearest images of each image that are compared pixel by pixel, upright
LEAST_RAW = 0.9  # correlation of near duplicates, at least
FALSE_PAIRS = 0.5  # near duplicates expected by chance among all images
CERTAIN = 0.98  # correlation of details above which two images are duplicates, whatever is common in the set
TURNS = ("", "turned by 90 degrees", "turned by 180 degrees", "turned by 270 degrees")


@dataclass(frozen=True)
class Pairs:
    """Candidates that were compared pixel by pixel.

    Attributes:
        first_P, second_P: images.
        turned_P: orientation of the second one.
        raw_P, detail_P: correlations of the images, and of their details, each at its best shift.
    """

    first_P: np.ndarray
    second_P: np.ndarray
    turned_P: np.ndarray
    raw_P: np.ndarray
    detail_P: np.ndarray


def find_exact_duplicates(pool: Pool) -> Iterator[Finding]:
    """Yield a pair for each further copy of an image: with the first copy, which is a training image if any is."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for image, digest in enumerate(pool.digest_N):
        copies[digest].append(image)
    for images in copies.values():
        for image in images[1:]:
            yield Finding("exact_duplicate", "all pixels are equal", image, images[0], 1.0)


def compare_candidates(pool: Pool, features: PixelFeatures, on_step: Callable[[int], None]) -> Pairs:
    """Compare each image with its nearest ones, and with the nearest one in each other orientation.

    Args:
        pool: the images.
        features: of the pixels, by which the candidates are found.
        on_step: called with the number of orientations that are done.

    Returns:
        the upright pairs first, `CANDIDATES` of each image (fewer in a set of few images).
    """
    count = len(pool)
    features_ND = features(pool.grey_NSS)
    upright = find_nearest(features_ND, CANDIDATES).rows_NK
    on_step(1)
    first, second = [np.repeat(np.arange(count), upright.shape[1])], [upright.ravel()]
    turned = [np.zeros(upright.size, np.int64)]
    for orientation in range(1, ORIENTATIONS):
        found = find_turned(features_ND, features(orient(pool.grey_NSS, orientation)))
        first.append(np.arange(count))
        second.append(found.rows_NK[:, 0])
        turned.append(np.full(count, orientation))
        on_step(orientation + 1)
    first_P, second_P, turned_P = map(np.concatenate, (first, second, turned))
    detail_P = correlate(measure_detail(pool.grey_NSS), first_P, second_P, turned_P)
    raw_P = correlate(pool.grey_NSS, first_P, second_P, turned_P)
    return Pairs(first_P, second_P, turned_P, raw_P, detail_P)


def find_near_duplicates(pool: Pool, pairs: Pairs) -> Iterator[Finding]:
    """Yield the pairs whose details correlate more than chance explains, the most similar first.

    The details of two images of one set correlate with each other by chance, more so in some sets. The largest
    correlation of an image with all others is an extreme value, so its Fisher z has a Gumbel distribution (Gumbel
    1958). Location and scale come from the lower half of the images, which twins in the upper half do not change. The
    threshold is the value that `FALSE_PAIRS` of N images exceed by chance, and `CERTAIN` at most: where patients have
    many similar images, there is no such distribution.
    """
    threshold = chance_threshold(pool, pairs)
    found: dict[tuple[int, int], int] = {}
    order = np.argsort(-pairs.detail_P)
    for pair in order[(pairs.detail_P[order] >= threshold) & (pairs.raw_P[order] >= LEAST_RAW)].tolist():
        one, other = sorted((int(pairs.first_P[pair]), int(pairs.second_P[pair])))
        if pool.digest_N[one] != pool.digest_N[other]:
            found.setdefault((one, other), pair)
    for (one, other), pair in found.items():
        yield Finding(
            "near_duplicate",
            f"correlation {pairs.raw_P[pair]:.3f}, of details {pairs.detail_P[pair]:.3f}"
            + _name_turn(int(pairs.turned_P[pair])),
            other,
            one,
            float(pairs.detail_P[pair]),
        )


def chance_threshold(pool: Pool, pairs: Pairs) -> float:
    """Return the correlation of details above which `FALSE_PAIRS` images lie by chance."""
    best_N = np.full(len(pool), -1.0)
    np.maximum.at(best_N, pairs.first_P, pairs.detail_P)
    z_N = np.arctanh(np.clip(best_N, -0.999, 0.9999))
    low, middle = np.quantile(z_N, [0.1, 0.5])
    scale = (middle - low) / (np.log(np.log(10)) - np.log(np.log(2)))
    location = middle + scale * np.log(np.log(2))
    return min(CERTAIN, float(np.tanh(location + scale * np.log(len(pool) / FALSE_PAIRS))))


def find_opposite_labels(pool: Pool, twins: Sequence[Finding], names: Sequence[str]) -> Iterator[Finding]:
    """Yield the pairs of duplicates whose labels differ."""
    if pool.labels_NL is None:
        return
    for one in twins:
        if one.kind not in TWINS or one.image is None or one.other is None:
            continue
        labels = pool.labels_NL[[one.image, one.other]]
        if (labels != UNKNOWN).all() and (labels[0] != labels[1]).any():
            first, second = (_name_label(row, names) for row in labels)
            yield Finding("opposite_labels", f"labelled {first} and {second}; {one.detail}", one.image, one.other,
                          one.score)


def _name_label(labels_L: np.ndarray, names: Sequence[str]) -> str:
    if len(labels_L) == 1:
        return names[int(labels_L[0])]
    return " + ".join(names[k] for k in np.flatnonzero(labels_L)) or "no label"


def _name_turn(orientation: int) -> str:
    mirrored, turned = orientation >= 4, TURNS[orientation % 4]
    words = [*(["mirrored"] if mirrored else []), *([turned] if turned else [])]
    return f", {' and '.join(words)}" if words else ""
