"""Labels that are probably wrong: the nearest images and a cross-validated classifier both contradict them.

Shape letters: N images, D features, K classes or neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simclr_med.audit.findings import Finding
from simclr_med.audit.neighbours import Nearest

# Probability of a label that is worth a check. Planted errors: half as many candidates as with 0.5 and a twofold vote,
# and no fewer hits (chest X-rays 10 of 20 among 70 candidates, blood cells of three classes 16 of 20 among 22).
IMPROBABLE = 0.1


def find_label_errors(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, nearest: Nearest, names: Sequence[str]
) -> Iterator[Finding]:
    """Yield the labels to check, the least probable first.

    Two detectors must agree. *Confident learning* (Northcutt et al. 2021, section 3.1): the classifier gives another
    class at least the mean probability that images of that class get, and more than any other class that passes its own
    threshold; the label itself gets less than `IMPROBABLE`. *Neighbours*: that class has more votes than the label.

    Args:
        labels_N: class of each image.
        probabilities_NK: of classifiers that did not see the image.
        nearest: other images.
        names: of the classes.
    """
    classes = probabilities_NK.shape[1]
    rows = np.arange(len(labels_N))
    own_N = probabilities_NK[rows, labels_N]
    counts_K = np.bincount(labels_N, minlength=classes)
    threshold_K = np.bincount(labels_N, own_N, classes) / np.maximum(counts_K, 1)
    passing_NK = np.where((probabilities_NK >= threshold_K) & (counts_K > 0), probabilities_NK, -1.0)
    other_N = passing_NK.argmax(axis=1)
    votes_NK = np.stack([(labels_N[nearest.rows_NK] == k).sum(axis=1) for k in range(classes)], axis=1)
    doubtful_N = (
        (passing_NK.max(axis=1) >= 0)
        & (other_N != labels_N)
        & (own_N < IMPROBABLE)
        & (votes_NK[rows, other_N] > votes_NK[rows, labels_N])
    )
    for image in sorted(np.flatnonzero(doubtful_N).tolist(), key=lambda image: own_N[image]):
        other = other_N[image]
        yield Finding(
            "label_error",
            f"labelled {names[labels_N[image]]}; a classifier says {names[other]} "
            f"({probabilities_NK[image, other]:.0%} against {own_N[image]:.1%}), as do {votes_NK[image, other]} of "
            f"{nearest.rows_NK.shape[1]} neighbours",
            image,
            score=float(own_N[image]),
        )
