"""The choice of the regularisation strength lambda of the linear probe.

Shape letters: N training images, M validation images, K classes, L label columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from simclr_med.evaluation.logistic_path import Fit, Labelled
from simclr_med.metrics import classification
from simclr_med.types import MULTI_LABEL, Task

FOLDS = 5  # of the cross-validation inside a label budget (Kohavi 1995 compares 2 to 20; 5 to 10 are usual)
WORSE = 3  # lambdas in a row with a worse score than the best one, after which smaller ones are not fitted

_SCORES = {"nll": classification.nll, "accuracy": classification.accuracy, "auroc": classification.auroc}


@dataclass(frozen=True)
class Candidate:
    """One lambda: the fit on the budget, and the probabilities of the validation images; None where there are none."""

    fit: Fit
    probabilities_MK: np.ndarray | None
    converged: bool


@dataclass(frozen=True)
class Choice:
    """The chosen lambda.

    Attributes:
        candidate: of it.
        stats: numbers about the choice, by metric name.
        notes: sentences for the user.
    """

    candidate: Candidate
    stats: dict[str, float]
    notes: tuple[str, ...]


def list_candidates(
    train: Labelled, val: Labelled | None, task: Task, classes: int, path: Callable[[Labelled], Iterator[Fit]]
) -> Iterator[Candidate]:
    """Yield the candidate of each lambda, from the largest to the smallest; path fits all lambdas to some images."""
    fits = path(train)
    if val is not None:
        for fit in fits:
            yield Candidate(fit, fit.predict_proba(task, val.features_ND), fit.converged)
        return
    folds = _folds(train.labels_NL, task)
    paths = [path(Labelled(train.features_ND[kept], train.labels_NL[kept])) for kept, _ in folds]
    for fit, *fold_fits in zip(fits, *paths, strict=True):
        pooled_NK = np.empty((len(train.labels_NL), classes), np.float32)
        for fold_fit, (_, held_out) in zip(fold_fits, folds, strict=True):
            pooled_NK[held_out] = fold_fit.predict_proba(task, train.features_ND[held_out])
        converged = fit.converged and all(fold_fit.converged for fold_fit in fold_fits)
        yield Candidate(fit, pooled_NK if folds else None, converged)


def _folds(labels_NL: np.ndarray, task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows of each fold: to fit, and held out; no fold where no class has two images.

    Images with several labels are stratified by their combination of labels where one is frequent enough.
    """
    _, strata, counts = np.unique(labels_NL, axis=0, return_inverse=True, return_counts=True)
    strata = strata.ravel()
    if task == MULTI_LABEL and counts.max() < FOLDS:
        strata, counts = np.zeros_like(strata), np.array([len(strata)])
    folds = min(FOLDS, int(counts.max()))
    if folds < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer images than there are folds
        return list(StratifiedKFold(folds).split(strata, strata))


def choose(
    candidates: Iterator[Candidate],
    labels_ML: np.ndarray,
    task: Task,
    lambdas: np.ndarray,
    select_by: str,
    max_iterations: int,
) -> Choice:
    """Return the lambda with the best score on validation, among those that converged, if any did."""
    tried: list[tuple[Candidate, tuple[bool, float]]] = []
    best, worse = 0, 0
    for candidate in candidates:
        rank = (candidate.converged, _score(select_by, task, labels_ML, candidate.probabilities_MK))
        tried.append((candidate, rank))
        if rank > tried[best][1]:
            best = len(tried) - 1
        worse = worse + 1 if rank < tried[best][1] else 0
        if worse == WORSE:
            break
    chosen, (converged, _) = tried[best]
    smaller = any(candidate.converged for candidate, _ in tried[best + 1 :])
    at_edge = len(lambdas) > 1 and (best == 0 or not smaller)
    stats = {
        "probe/lambda": float(lambdas[best]),
        "probe/converged": float(converged),
        "probe/at_edge": float(at_edge),
    }
    notes = _describe_choice([rank for _, rank in tried], best, lambdas, select_by, max_iterations)
    return Choice(chosen, stats, tuple(notes))


def _describe_choice(
    ranks: list[tuple[bool, float]], best: int, lambdas: np.ndarray, select_by: str, max_iterations: int
) -> Iterator[str]:
    """Yield a sentence for each thing about the choice that a user has to know."""
    unconverged = sum(not converged for converged, _ in ranks)
    if unconverged:
        what = "the scores are those of one that did not" if unconverged == len(ranks) else "they were not chosen"
        yield (
            f"stage.solvers.logistic.max_iterations={max_iterations}: {unconverged} of {len(ranks)} regularisation "
            f"strengths did not converge; {what}. Raise it."
        )
    if len(lambdas) == 1:
        return
    if len({score for _, score in ranks}) == 1:
        yield (
            f"The validation images do not compare the regularisation strengths ({select_by} is undefined, or the same "
            f"for all): the largest is used, lambda={lambdas[best]:.3g}."
        )
    elif best == 0:
        yield (
            f"stage.solvers.logistic.highest={lambdas[0]:.3g}: the largest regularisation strength has the best "
            f"{select_by}. Larger ones may be better: raise it."
        )
    elif best == len(lambdas) - 1:
        yield (
            f"stage.solvers.logistic.lowest={lambdas[-1]:.3g}: the smallest regularisation strength has the best "
            f"{select_by}. Smaller ones may be better: lower it."
        )


def _score(select_by: str, task: Task, labels_ML: np.ndarray, probabilities_MK: np.ndarray | None) -> float:
    """Return the selection score; higher is better, and an undefined score counts as the lowest."""
    value = np.nan if probabilities_MK is None else _SCORES[select_by](task, labels_ML, probabilities_MK)
    signed = -value if select_by == "nll" else value
    return -np.inf if np.isnan(signed) else float(signed)
