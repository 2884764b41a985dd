"""Which images to label next: those that a classifier of the images labelled already is least sure of.

The images chosen are biased by design: they lie where the classifier errs, and are no random sample of the data.

Shape letters: N images, D features, M labelled images, K classes, L label columns, E members of the committee.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simclr_med.evaluation.label_order import Available, Candidates, Order
from simclr_med.evaluation.logistic_path import Fit, Labelled
from simclr_med.evaluation.probe import FittedProbe
from simclr_med.streams import Stream
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class Known:
    """The images labelled already, and how to learn from them.

    Attributes:
        rows_M: int64, in the order of their selection.
        labels_ML: int64, in medmnist's layout; every class from 0 to K - 1 has an image.
        task, classes: of the labels.
        fit: fits a probe; the arguments of `simclr_med.evaluation.probe.logistic`.
    """

    rows_M: np.ndarray
    labels_ML: np.ndarray
    task: Task
    classes: int
    fit: Callable[..., FittedProbe]

    def fit_probe(self, features_ND: np.ndarray) -> FittedProbe:
        """Return the probe of the labelled images, whose strength cross-validation chooses inside them."""
        return self._fit(features_ND, np.arange(len(self.rows_M)))

    def refit_probe(self, features_ND: np.ndarray, drawn: np.ndarray, strength: float) -> FittedProbe:
        """Return a probe of some labelled images, which may repeat, with a given regularisation strength."""
        return self._fit(features_ND, drawn, lowest=strength, highest=strength, points=1)

    def _fit(self, features_ND: np.ndarray, drawn: np.ndarray, **strength: float) -> FittedProbe:
        train = Labelled(features_ND[self.rows_M[drawn]], self.labels_ML[drawn])
        val = train if strength else None  # a single strength needs no folds
        return self.fit(train=train, val=val, task=self.task, classes=self.classes, seed=0, **strength)

    def predict_proba(self, probe: FittedProbe, features_ND: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [N, K]."""
        return Fit(probe.weight_KD, probe.bias_K, True).predict_proba(self.task, features_ND)


def margin(candidates: Candidates, rounds: Sequence[int], seed: int, known: Known) -> Order:
    """Choose the images with the smallest margin: the difference of the two largest class probabilities.

    Source: Scheffer, Decomain and Wrobel 2001, "Active hidden Markov models for information extraction". Of several
    labels, each is a problem of two classes, and the smallest margin counts (Brinker 2006).

    Args:
        candidates: the images.
        rounds: the last one is the size of the selection, the labelled images included.
        seed: of ties.
        known: the labelled images, which come first.
    """
    features_ND = candidates.features()
    probe = known.fit_probe(features_ND)
    margins_N = measure_margins(known.predict_proba(probe, features_ND), known.task)
    return _continue(candidates, rounds[-1], seed, known, margins_N, margins_N)


def disagreement(candidates: Candidates, rounds: Sequence[int], seed: int, known: Known, members: int) -> Order:
    """Choose the images on which a committee of probes disagrees most.

    Each member is fitted to a bootstrap draw of the labelled images, with the regularisation strength of the probe of
    all of them. Sources: Seung, Opper and Sompolinsky 1992 (query by committee), Abe and Mamitsuka 1998 (bootstrap
    draws), McCallum and Nigam 1998 (measure).

    Args:
        candidates, rounds, known: as in `margin`.
        seed: of the draws and of ties.
        members: of the committee.
    """
    features_ND = candidates.features()
    strength = known.fit_probe(features_ND).stats["probe/lambda"]
    generator = np.random.default_rng([seed, Stream.SELECTION])
    committee_ENK = [
        known.predict_proba(known.refit_probe(features_ND, drawn, strength), features_ND)
        for drawn in generator.integers(0, len(known.rows_M), (members, len(known.rows_M)))
    ]
    scores_N = measure_disagreement(np.stack(committee_ENK), known.task)
    return _continue(candidates, rounds[-1], seed, known, -scores_N, scores_N)


def measure_margins(probabilities_NK: np.ndarray, task: Task) -> np.ndarray:
    """Return the margin of each image, float [N] in [0, 1]."""
    if task == MULTI_LABEL:
        return np.asarray(np.abs(2 * probabilities_NK - 1).min(axis=1))
    second, largest = np.sort(probabilities_NK, axis=1)[:, -2:].T
    return np.asarray(largest - second)


def measure_disagreement(probabilities_ENK: np.ndarray, task: Task) -> np.ndarray:
    """Return the mean Kullback-Leibler divergence of the members from their mean, float [N], in nats.

    Of several labels, it is the sum of the divergences of all labels.
    """
    whole = probabilities_ENK.astype(np.float64)
    parts = (whole, 1 - whole) if task == MULTI_LABEL else (whole,)
    between = sum(_sum_entropy_terms(part.mean(axis=0)) for part in parts)
    within = sum(_sum_entropy_terms(part).mean(axis=0) for part in parts)
    return np.asarray(np.maximum(between - within, 0))


def _sum_entropy_terms(probabilities: np.ndarray) -> np.ndarray:
    """Return the sum of -p log p over the last axis; 0 where p is 0."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return np.asarray(-(probabilities * logs).sum(axis=-1))


def _continue(
    candidates: Candidates, size: int, seed: int, known: Known, keys_N: np.ndarray, scores_N: np.ndarray
) -> Order:
    """Return the labelled images, then those with the smallest keys up to a size, without twins of images before."""
    order, available = Order(), Available(candidates.twins_N)
    for row in known.rows_M.tolist():
        order.add(row)
        available.remove(row)
    ties_N = np.random.default_rng([seed, Stream.SUBSET_ORDER]).permutation(len(keys_N))
    for row in np.lexsort((ties_N, keys_N)).tolist():
        if len(order.rows) >= size:
            break
        if available.mask_N[row]:
            order.add(row, score=float(scores_N[row]))
            available.remove(row)
    return order
