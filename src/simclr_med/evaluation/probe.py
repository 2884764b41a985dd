"""The linear probe: a linear classifier on the features of a frozen encoder.

Shape letters: N training images, M validation images, D features, K classes, L label columns.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from simclr_med.errors import RunError
from simclr_med.evaluation.predict import logits_to_probabilities
from simclr_med.metrics import classification
from simclr_med.models.losses import classification_loss
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class Labelled:
    """Features with labels.

    Attributes:
        features_ND: float32 or float64.
        labels_NL: int64, medmnist's layout.
    """

    features_ND: np.ndarray
    labels_NL: np.ndarray


@dataclass(frozen=True)
class FittedProbe:
    """A linear classifier of unchanged features, and how it was chosen.

    Attributes:
        weight_KD, bias_K: float64; a class that was not trained has bias minus infinity, so probability 0.
        told: numbers of the fit, by name.
    """

    weight_KD: np.ndarray
    bias_K: np.ndarray
    told: dict[str, float]


_CHOICES = {"nll": classification.nll, "accuracy": classification.accuracy, "auroc": classification.auroc}
# The last fit of this process, by the content of what decides it: the seeds of a whole training split share one.
_FITTED: dict[str, FittedProbe] = {}


def lbfgs(
    train: Labelled,
    val: Labelled,
    task: Task,
    classes: int,
    seed: int,
    lowest: float,
    highest: float,
    points: int,
    select_by: str,
    max_iterations: int,
    tolerance: float,
) -> FittedProbe:
    """Logistic regression by L-BFGS on standardised features, the strength of its L2 penalty chosen on validation.

    It minimises ``mean cross-entropy + lambda / 2 |W|^2`` (SimCLR, arXiv 2002.05709, appendix B.8, with a coarser
    grid): multinomial for single labels, one binary regression a label for multi-label sets. Features are
    standardised by the training subset's own mean and deviation.

    Args:
        train, val: the label budget, and the whole validation split; nothing else is looked at.
        task, classes: of the labels.
        seed: unused, the solution is unique.
        lowest, highest, points: of the logarithmic grid of lambda.
        select_by: auroc, accuracy or nll on validation; a tie goes to the stronger penalty.
        max_iterations, tolerance: of L-BFGS, for each lambda, started from the one before.
    """
    del seed
    options = (task, classes, lowest, highest, points, select_by, max_iterations, tolerance)
    key = _content(train, val, repr(options))
    if key not in _FITTED:
        _FITTED.clear()
        strengths = np.geomspace(highest, lowest, points)
        # One thread: with two a step took 1.3 (40,000 x 512 features) to 17 times (2,804 x 512) as long.
        with threadpool_limits(1, "blas"):
            _FITTED[key] = _chosen(train, val, task, classes, strengths, select_by, max_iterations, tolerance)
    return _FITTED[key]


def sgd(
    train: Labelled,
    val: Labelled,
    task: Task,
    classes: int,
    seed: int,
    lr: float,
    weight_decay: float,
    epochs: int,
    batch_size: int,
    milestones: list[float],
    gamma: float,
) -> FittedProbe:
    """The original system's probe: one linear layer by AdamW on the features as they are, last weights kept.

    Args:
        train: the label budget.
        val: not looked at; nothing is chosen.
        task, classes: of the labels.
        seed: of the weights and of the order.
        lr, weight_decay, epochs: of AdamW.
        batch_size: at most; fewer images make one batch.
        milestones: parts of the epochs after which the learning rate is multiplied by gamma (the original: epochs 60
            and 80, whatever the length).
        gamma: of the steps.

    Raises:
        RunError: the weights became no numbers.
    """
    del val
    generator = torch.Generator().manual_seed(seed)
    features_ND = torch.from_numpy(np.ascontiguousarray(train.features_ND)).float()
    labels_NL = torch.from_numpy(train.labels_NL)
    layer = nn.Linear(features_ND.shape[1], classes)
    bound = features_ND.shape[1] ** -0.5  # torch's own for a linear layer
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=lr, weight_decay=weight_decay)
    steps = [round(part * epochs) for part in milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, gamma)
    for _ in range(epochs):
        for rows in torch.randperm(len(features_ND), generator=generator).split(batch_size):
            optimizer.zero_grad()
            classification_loss(task, layer(features_ND[rows]), labels_NL[rows]).backward()
            optimizer.step()
        schedule.step()
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise RunError(f"stage.solvers.sgd.lr={lr}: must let the weights stay finite, which they did not. Lower it.")
    return FittedProbe(weight, bias, {})


def _content(train: Labelled, val: Labelled, options: str) -> str:
    """A digest of everything that a fit depends on."""
    digest = hashlib.sha256(options.encode())
    for part in (train, val):
        for array in (part.features_ND, part.labels_NL):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _chosen(
    train: Labelled,
    val: Labelled,
    task: Task,
    classes: int,
    strengths: np.ndarray,
    select_by: str,
    max_iterations: int,
    tolerance: float,
) -> FittedProbe:
    """The fit of the strength that validation likes best."""
    mean, std = train.features_ND.mean(axis=0, dtype=np.float64), train.features_ND.std(axis=0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    train_ND, val_MD = ((part.features_ND.astype(np.float64) - mean) / std for part in (train, val))
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    for strength, (weight, bias) in zip(
        strengths, _path(train_ND, train.labels_NL, task, classes, strengths, max_iterations, tolerance), strict=True
    ):
        score = _score(select_by, task, val.labels_NL, logits_to_probabilities(task, val_MD @ weight.T + bias))
        if best is None or score > best[0]:
            best = (score, strength, weight, bias)
    assert best is not None, "points is at least 1"
    _, strength, weight, bias = best
    folded = weight / std
    return FittedProbe(folded, bias - folded @ mean, {"probe/lambda": float(strength)})


def _path(
    train_ND: np.ndarray,
    labels_NL: np.ndarray,
    task: Task,
    classes: int,
    strengths: np.ndarray,
    max_iterations: int,
    tolerance: float,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(weight_KD, bias_K) for each strength of the penalty."""
    columns = labels_NL.T if task == MULTI_LABEL else labels_NL[:, :1].T
    models = [LogisticRegression(max_iter=max_iterations, tol=tolerance, warm_start=True) for _ in columns]
    # Float rounding of products depends on how many rows there are: only from one strength to the next is it shared.
    basis, rotated = _rotated(train_ND)
    for strength in strengths:
        parts = []
        for model, column in zip(models, columns, strict=True):
            parts.append(_fit(model, rotated, column, 1 / (len(train_ND) * strength), classes, task))
        weight = np.concatenate([weight for weight, _ in parts])
        yield (weight if basis is None else weight @ basis), np.concatenate([bias for _, bias in parts])


def _rotated(train_ND: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The features in a basis of the space that fewer rows than columns span: the penalised solution lies in it."""
    if len(train_ND) >= train_ND.shape[1]:
        return None, train_ND
    left, size, basis = np.linalg.svd(train_ND, full_matrices=False)
    return basis, left * size


def _fit(
    model: LogisticRegression, train_ND: np.ndarray, column_N: np.ndarray, inverse: float, classes: int, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """One regression as the rows of a linear layer: of all classes, or the one row of a label."""
    present = np.unique(column_N)
    rows = 1 if task == MULTI_LABEL else classes
    weight, bias = np.zeros((rows, train_ND.shape[1])), np.full(rows, -np.inf)
    if len(present) == 1:
        if task == MULTI_LABEL:
            return weight, np.array([np.inf if present[0] else -np.inf])
        bias[present[0]] = 0.0
        return weight, bias
    model.C = inverse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest penalties never end; validation judges them
        model.fit(train_ND, column_N)
    if task == MULTI_LABEL:
        return model.coef_, model.intercept_
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn keeps one row then: the second class against the first
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    weight[present], bias[present] = coefficients, intercepts
    return weight, bias


def _score(select_by: str, task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """The score that is chosen by; higher is better, and an undefined one counts as the lowest."""
    value = _CHOICES[select_by](task, labels_NL, probabilities_NK)
    signed = -value if select_by == "nll" else value
    return -np.inf if np.isnan(signed) else signed
