"""Exact and near duplicates: candidates by features, checked pixel by pixel, with a threshold from the set itself.

Shape letters: N images, P pairs, S side in pixels, D features, K neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simclr_med.audit.findings import TWINS, Finding
from simclr_med.audit.matching import correlate, measure_detail, orient, remove_common
from simclr_med.audit.neighbours import find_nearest, find_turned
from simclr_med.audit.pixel_features import describe_spectrum, fit_whitening
from simclr_med.audit.pool import UNKNOWN, Pool

CANDIDATES = 5  # nearest images of each image that are compared pixel by pixel, upright
HALF_TURNS = ((0, 2), (1, 3), (4, 6), (5, 7))  # orientations that differ by half a turn
STEPS = len(HALF_TURNS) + 1
RAW, LEAST_RAW = 0.97, 0.9  # correlation of near duplicates, by each of two criteria
GAP = 0.5  # Fisher z; pairs of different lesions above the threshold had 0.2 to 0.5, duplicates 0.6 to 1.5
FALSE_PAIRS = 0.5  # near duplicates expected by chance among all images, by each of two criteria
CERTAIN = 0.98  # correlation of details above which two images are duplicates, whatever is common in the set
TURNS = ("", "turned by 90 degrees", "turned by 180 degrees", "turned by 270 degrees")


@dataclass(frozen=True)
class Pairs:
    """Candidates that were compared pixel by pixel: the upright ones first, `CANDIDATES` of each image in order.

    Attributes:
        first_P, second_P: images.
        turned_P: orientation of the second one.
        detail_P: correlation of the details, at its best shift.
        own_P: the same of what is left of the details without what is common to the set; -1 for turned pairs.
    """

    first_P: np.ndarray
    second_P: np.ndarray
    turned_P: np.ndarray
    detail_P: np.ndarray
    own_P: np.ndarray


def find_exact_duplicates(pool: Pool) -> Iterator[Finding]:
    """Yield a pair for each further copy of an image: with the first copy, which is a training image if any is."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for image, digest in enumerate(pool.digest_N):
        copies[digest].append(image)
    for images in copies.values():
        for image in images[1:]:
            yield Finding("exact_duplicate", "all pixels are equal", image, images[0], 1.0)


def compare_candidates(pool: Pool, seed: int, on_step: Callable[[int], None]) -> Pairs:
    """Compare each image with those of similar spectrum, and with the most similar one in each other orientation.

    Args:
        pool: the images.
        seed: of the images that features are fitted to.
        on_step: called with the number of steps that are done, of `STEPS`.
    """
    features = fit_whitening(describe_spectrum, pool.grey_NSS, seed)
    features_ND = features(pool.grey_NSS)
    upright_NK = find_nearest(features_ND, CANDIDATES).rows_NK
    images_N = np.arange(len(pool))
    first, second = [np.repeat(images_N, upright_NK.shape[1])], [upright_NK.ravel()]
    turned = [np.zeros(upright_NK.size, np.int64)]
    # Half a turn does not change a spectrum, so that one search serves two orientations.
    for step, orientations in enumerate(HALF_TURNS, 1):
        on_step(step)
        start = orientations[0]
        nearest_N = find_turned(features_ND, features(orient(pool.grey_NSS, start))) if start else upright_NK[:, 0]
        for orientation in orientations:
            if orientation:
                first.append(images_N)
                second.append(nearest_N)
                turned.append(np.full(len(pool), orientation))
    first_P, second_P, turned_P = map(np.concatenate, (first, second, turned))
    detail_NSS = measure_detail(pool.grey_NSS)
    detail_P = correlate(detail_NSS, first_P, second_P, turned_P)
    on_step(STEPS)
    own_P = np.full(len(first_P), -1.0, np.float32)
    upright = slice(upright_NK.size)
    own_P[upright] = correlate(remove_common(detail_NSS, seed), first_P[upright], second_P[upright], turned_P[upright])
    return Pairs(first_P, second_P, turned_P, detail_P, own_P)


def find_near_duplicates(pool: Pool, pairs: Pairs) -> Iterator[Finding]:
    """Yield the pairs that are more similar than chance explains, the most similar first.

    One of two criteria decides. The details correlate above their threshold, and the images by `RAW` or more: this
    survives shifts, turns and mirroring. Or what is left of the details without what is common to the set correlates
    above its own threshold, stands out from the other candidates by `GAP`, and the images correlate by `LEAST_RAW` or
    more: this survives compression and changes of colour.
    """
    detailed = pairs.detail_P >= chance_threshold(pairs.first_P, pairs.detail_P, len(pool))
    own = (pairs.own_P >= chance_threshold(pairs.first_P, pairs.own_P, len(pool))) & (_stand_out(pairs) >= GAP)
    rows = np.flatnonzero(detailed | own)
    raw_P = np.full(len(pairs.first_P), -1.0)
    raw_P[rows] = correlate(pool.grey_NSS, pairs.first_P[rows], pairs.second_P[rows], pairs.turned_P[rows])
    rows = np.flatnonzero((detailed & (raw_P >= RAW)) | (own & (raw_P >= LEAST_RAW)))
    found: dict[tuple[int, int], int] = {}
    for pair in rows[np.argsort(-pairs.detail_P[rows])].tolist():
        one, other = sorted((int(pairs.first_P[pair]), int(pairs.second_P[pair])))
        if pool.digest_N[one] != pool.digest_N[other]:
            found.setdefault((one, other), pair)
    for (one, other), pair in found.items():
        score, turn = float(pairs.detail_P[pair]), _name_turn(int(pairs.turned_P[pair]))
        words = f"correlation {raw_P[pair]:.3f}, of details {score:.3f}{turn}"
        yield Finding("near_duplicate", words, other, one, score)


def _stand_out(pairs: Pairs) -> np.ndarray:
    """Return how far each pair's own correlation is above the lowest one among both images' candidates, as Fisher z."""
    z_P = np.arctanh(np.clip(pairs.own_P, -0.999, 0.999))
    lowest_N = np.full(int(pairs.first_P.max()) + 1, np.inf)
    upright = pairs.turned_P == 0
    np.minimum.at(lowest_N, pairs.first_P[upright], z_P[upright])
    return z_P - np.maximum(lowest_N[pairs.first_P], lowest_N[pairs.second_P])


def chance_threshold(first_P: np.ndarray, values_P: np.ndarray, count: int) -> float:
    """Return the correlation that `FALSE_PAIRS` images exceed by chance, and `CERTAIN` at most.

    The details of two images of one set correlate with each other by chance, more so in some sets. The largest
    correlation of an image with all others is an extreme value, so its Fisher z has a Gumbel distribution (Gumbel
    1958). Location and scale come from the lower half of the images, which twins in the upper half do not change.
    Where patients have many similar images, there is no such distribution, and `CERTAIN` decides.

    Args:
        first_P: image of each pair.
        values_P: its correlation.
        count: images.
    """
    best_N = np.full(count, -1.0)
    np.maximum.at(best_N, first_P, values_P)
    z_N = np.arctanh(np.clip(best_N, -0.999, 0.9999))
    low, middle = np.quantile(z_N, [0.1, 0.5])
    scale = (middle - low) / (np.log(np.log(10)) - np.log(np.log(2)))
    location = middle + scale * np.log(np.log(2))
    return min(CERTAIN, float(np.tanh(location + scale * np.log(count / FALSE_PAIRS))))


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
            yield Finding(
                "opposite_labels", f"labelled {first} and {second}; {one.detail}", one.image, one.other, one.score
            )


def _name_label(labels_L: np.ndarray, names: Sequence[str]) -> str:
    if len(labels_L) == 1:
        return names[int(labels_L[0])]
    return " + ".join(names[int(k)] for k in np.flatnonzero(labels_L)) or "no label"


def _name_turn(orientation: int) -> str:
    mirrored, turned = orientation >= 4, TURNS[orientation % 4]
    words = [*(["mirrored"] if mirrored else []), *([turned] if turned else [])]
    return f", {' and '.join(words)}" if words else ""
