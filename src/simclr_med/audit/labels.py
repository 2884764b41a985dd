"""Labels that are probably wrong: the nearest images and a cross-validated classifier together contradict them.

Shape letters: N images, K classes, or neighbours in `Nearest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simclr_med.audit.findings import Finding
from simclr_med.audit.neighbours import Nearest

# How many times as probable as its label another class of an image is, whose label is worth a check. Of 20 planted
# errors (mean of 5 plantings; pixels, then with an encoder) it finds 9.4 and 12.8 among 57 and 92 candidates of 2,498
# blood cells, 12.2 and 12.2 among 75 and 122 of 5,190 chest X-rays. With 4, the candidates double for 1 more hit.
LEAST_RATIO = 6.0


def find_label_errors(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, nearest: Nearest, names: Sequence[str]
) -> Iterator[Finding]:
    """Yield the labels to check, the least probable first.

    An image's score is the probability of its label by `combine_evidence`. Ranking by the probability of the label
    itself finds more errors than ranking by the difference to the most probable class (both in Kuan and Mueller 2022),
    or than a vote of both sources alone.

    Args:
        labels_N: class of each image.
        probabilities_NK: of classifiers that did not see the image.
        nearest: other images.
        names: of the classes.
    """
    rows = np.arange(len(labels_N))
    votes_NK = count_votes(labels_N, nearest, probabilities_NK.shape[1])
    joint_NK = combine_evidence(labels_N, probabilities_NK, votes_NK)
    own_N = joint_NK[rows, labels_N]
    rest_NK = joint_NK.copy()
    rest_NK[rows, labels_N] = -1.0
    other_N = rest_NK.argmax(axis=1)
    doubtful_N = joint_NK[rows, other_N] > LEAST_RATIO * own_N
    for image in sorted(np.flatnonzero(doubtful_N).tolist(), key=lambda image: own_N[image]):
        label, other = labels_N[image], other_N[image]
        classified = f"{probabilities_NK[image, other]:.0%} against {probabilities_NK[image, label]:.1%}"
        voted = f"{votes_NK[image, other]} votes against {votes_NK[image, label]}"
        yield Finding(
            "label_error",
            f"labelled {names[label]}, probably {names[other]}: a classifier gives {classified}, "
            f"the {nearest.rows_NK.shape[1]} nearest images {voted}",
            image,
            score=float(own_N[image]),
        )


def count_votes(labels_N: np.ndarray, nearest: Nearest, classes: int) -> np.ndarray:
    """Return the number of neighbours of each class, int64 [N, K]."""
    return np.stack([(labels_N[nearest.rows_NK] == k).sum(axis=1) for k in range(classes)], axis=1)


def combine_evidence(labels_N: np.ndarray, probabilities_NK: np.ndarray, votes_NK: np.ndarray) -> np.ndarray:
    """Return the normalised geometric mean of the classifier's and the neighbours' class probabilities, float64 [N, K].

    The neighbours' probabilities are their votes with one vote for each class added, shared by the frequency of the
    classes (Laplace smoothing), so that no class that has images is impossible.
    """
    classes = probabilities_NK.shape[1]
    share_K = np.bincount(labels_N, minlength=classes) / len(labels_N)
    voted_NK = votes_NK + classes * share_K
    voted_NK /= voted_NK.sum(axis=1, keepdims=True)
    joint_NK = np.sqrt(probabilities_NK.astype(np.float64) * voted_NK)
    return joint_NK / joint_NK.sum(axis=1, keepdims=True)
