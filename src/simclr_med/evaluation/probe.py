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

from simclr_med.data.progress import show_progress
from simclr_med.errors import RunError
from simclr_med.evaluation.predict import logits_to_probabilities
from simclr_med.metrics import classification
from simclr_med.models.losses import classification_loss
from simclr_med.runs.job_cache import JobCache
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class Labelled:
    """Features with labels.

    Attributes:
        features_ND: float32 or float64.
        labels_NL: int64, in medmnist's layout.
    """

    features_ND: np.ndarray
    labels_NL: np.ndarray


@dataclass(frozen=True)
class FittedProbe:
    """A linear classifier on features as they are, and statistics of its fit.

    Attributes:
        weight_KD, bias_K: float64; a class without training images has bias minus infinity, so probability 0.
        stats: numbers of the fit, by metric name.
    """

    weight_KD: np.ndarray
    bias_K: np.ndarray
    stats: dict[str, float]


_SCORES = {"nll": classification.nll, "accuracy": classification.accuracy, "auroc": classification.auroc}


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
    cache: JobCache | None = None,
) -> FittedProbe:
    """Fit logistic regression by L-BFGS, with the regularisation strength C chosen on validation.

    The fit minimises ``mean cross-entropy + lambda / 2 |W|^2`` (SimCLR, arXiv 2002.05709, appendix B.8, with a coarser
    grid); for N training images, scikit-learn's C is ``1 / (lambda N)``. It is multinomial for single labels, and one
    binary regression per label for multi-label sets. Features are standardised by the mean and standard deviation of
    the training subset.

    Args:
        train, val: the label budget, and the whole validation split; no other data are used.
        task, classes: of the labels.
        seed: unused, since the solution is unique.
        lowest, highest, points: of the logarithmic grid of lambda.
        select_by: ``auroc``, ``accuracy`` or ``nll`` on validation; ties go to the larger lambda.
        max_iterations, tolerance: of L-BFGS; each lambda starts from the solution of the one before.
        cache: what the runs of one job share; None fits without it.

    Returns:
        the probe, with ``probe/lambda`` in its statistics.
    """
    del seed
    options = (task, classes, lowest, highest, points, select_by, max_iterations, tolerance)
    key = _hash_inputs(train, val, repr(options))

    def fit() -> FittedProbe:
        lambdas = np.geomspace(highest, lowest, points)
        # One thread: two take 1.3 times (40,000 x 512 features) to 17 times (2,804 x 512) as long for a step.
        with threadpool_limits(1, "blas"):
            return _fit_and_select(train, val, task, classes, lambdas, select_by, max_iterations, tolerance)

    # The fit does not depend on the seed: all seeds share the fit on the whole training split.
    return fit() if cache is None else cache.get_or_build("probe", key, fit)


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
    cache: JobCache | None = None,
) -> FittedProbe:
    """Fit the thesis's probe: one linear layer, trained by AdamW on the features as they are; keep the last weights.

    Args:
        train: the label budget.
        val: unused, since nothing is chosen.
        task, classes: of the labels.
        seed: of the initial weights and of the order of images.
        lr, weight_decay, epochs: of AdamW.
        batch_size: at most; fewer images form one batch.
        milestones: fractions of the epochs, in (0, 1), after which the learning rate is multiplied by gamma (the
            thesis: after epochs 60 and 80 of any number).
        gamma: factor on the learning rate, in (0, 1].
        cache: unused, since each seed has its own fit.

    Raises:
        RunError: the weights are not finite after training.
    """
    del val, cache
    generator = torch.Generator().manual_seed(seed)
    features_ND = torch.from_numpy(np.ascontiguousarray(train.features_ND)).float()
    labels_NL = torch.from_numpy(train.labels_NL)
    layer = nn.Linear(features_ND.shape[1], classes)
    bound = features_ND.shape[1] ** -0.5  # torch's default for a linear layer
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=lr, weight_decay=weight_decay)
    steps = [round(fraction * epochs) for fraction in milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, gamma)
    for _ in range(epochs):
        for rows in torch.randperm(len(features_ND), generator=generator).split(batch_size):
            optimizer.zero_grad()
            classification_loss(task, layer(features_ND[rows]), labels_NL[rows]).backward()
            optimizer.step()
        schedule.step()
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise RunError(f"stage.solvers.sgd.lr={lr}: training diverged, the weights are not finite. Lower it.")
    return FittedProbe(weight, bias, {})


def _hash_inputs(train: Labelled, val: Labelled, options: str) -> str:
    """Return a digest of everything that a fit depends on."""
    digest = hashlib.sha256(options.encode())
    for part in (train, val):
        for array in (part.features_ND, part.labels_NL):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _fit_and_select(
    train: Labelled,
    val: Labelled,
    task: Task,
    classes: int,
    lambdas: np.ndarray,
    select_by: str,
    max_iterations: int,
    tolerance: float,
) -> FittedProbe:
    """Fit every lambda and return the probe with the best score on validation."""
    mean, std = train.features_ND.mean(axis=0, dtype=np.float64), train.features_ND.std(axis=0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    train_ND, val_MD = ((part.features_ND.astype(np.float64) - mean) / std for part in (train, val))
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    fits = _fit_path(train_ND, train.labels_NL, task, classes, lambdas, max_iterations, tolerance)
    for lambda_, (weight, bias) in zip(lambdas, fits, strict=True):
        score = _score(select_by, task, val.labels_NL, logits_to_probabilities(task, val_MD @ weight.T + bias))
        if best is None or score > best[0]:
            best = (score, lambda_, weight, bias)
    assert best is not None, "points is at least 1"
    _, lambda_, weight, bias = best
    folded = weight / std
    return FittedProbe(folded, bias - folded @ mean, {"probe/lambda": float(lambda_)})


def _fit_path(
    train_ND: np.ndarray,
    labels_NL: np.ndarray,
    task: Task,
    classes: int,
    lambdas: np.ndarray,
    max_iterations: int,
    tolerance: float,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (weight_KD, bias_K) for each lambda."""
    columns = labels_NL.T if task == MULTI_LABEL else labels_NL[:, :1].T
    models = [LogisticRegression(max_iter=max_iterations, tol=tolerance, warm_start=True) for _ in columns]
    basis, rotated = _rotate(train_ND)
    done, total = 0, len(lambdas) * len(models)
    with show_progress("Fitting the probe", "regressions") as update:
        for lambda_ in lambdas:
            parts = []
            for model, column in zip(models, columns, strict=True):
                parts.append(_fit(model, rotated, column, 1 / (len(train_ND) * lambda_), classes, task))
                done += 1
                update(done, total)
            weight = np.concatenate([weight for weight, _ in parts])
            yield (weight if basis is None else weight @ basis), np.concatenate([bias for _, bias in parts])


def _rotate(train_ND: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return a basis of the space that the rows span, and the features in that basis.

    The penalised solution lies in that space, and the fit is faster there. Where rows are not fewer than columns,
    the basis is None and the features stay as they are.
    """
    if len(train_ND) >= train_ND.shape[1]:
        return None, train_ND
    left, size, basis = np.linalg.svd(train_ND, full_matrices=False)
    return basis, left * size


def _fit(
    model: LogisticRegression, train_ND: np.ndarray, column_N: np.ndarray, inverse: float, classes: int, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Return one regression as rows of a linear layer: a row for each class, or the one row of a label."""
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
        # Fits with a small lambda do not converge; validation scores them all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_ND, column_N)
    if task == MULTI_LABEL:
        return model.coef_, model.intercept_
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn has one row for two classes: the second against the first
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    weight[present], bias[present] = coefficients, intercepts
    return weight, bias


def _score(select_by: str, task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """Return the selection score; higher is better, and an undefined score counts as the lowest."""
    value = _SCORES[select_by](task, labels_NL, probabilities_NK)
    signed = -value if select_by == "nll" else value
    return -np.inf if np.isnan(signed) else signed
