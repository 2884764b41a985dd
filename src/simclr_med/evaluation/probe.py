"""The linear probe: a linear classifier on the features of a frozen encoder.

Shape letters: N training images, M validation images, D features, K classes, L label columns.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from simclr_med.data.progress import show_progress
from simclr_med.errors import RunError
from simclr_med.evaluation.logistic_path import Labelled, fit_path
from simclr_med.evaluation.strength_choice import FOLDS, choose, list_candidates
from simclr_med.models.losses import classification_loss
from simclr_med.runs.job_cache import JobCache
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class FittedProbe:
    """A linear classifier on features as they are, and how it was chosen.

    Attributes:
        weight_KD, bias_K: float64; a class without training images has bias minus infinity, so probability 0.
        stats: numbers of the fit, by metric name.
        probabilities_MK: float32, of the validation images by which it was chosen: of ``val``, or of all training
            images, each by the fit of the folds that lack it. None where nothing was chosen.
        notes: sentences for the user.
    """

    weight_KD: np.ndarray
    bias_K: np.ndarray
    stats: dict[str, float]
    probabilities_MK: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def layer(self) -> nn.Linear:
        """Return the classifier as a linear layer, float64."""
        classes, width = self.weight_KD.shape
        layer = nn.Linear(width, classes, dtype=torch.float64)
        layer.load_state_dict({"weight": torch.from_numpy(self.weight_KD), "bias": torch.from_numpy(self.bias_K)})
        return layer.requires_grad_(False)


def logistic(
    train: Labelled,
    val: Labelled | None,
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
    """Fit logistic regression and choose its regularisation strength lambda by validation.

    The fit minimises ``mean cross-entropy + lambda / 2 |W|^2`` (SimCLR, arXiv 2002.05709, appendix B.8, with a coarser
    grid). It is multinomial for single labels, and one binary regression per label for multi-label sets. Strengths
    whose fit did not converge are chosen only if none converged. The path of strengths ends early after `WORSE` in a
    row with a worse score than the best one.

    Args:
        train: the label budget. The classifier is fitted to all of it.
        val: the validation split. None chooses by cross-validation inside the budget, in `FOLDS` stratified folds (of
            neighbouring rows, so that similar images tend to share a fold); its score is that of all images together.
        task, classes: of the labels.
        seed: unused, since the solution is unique.
        lowest, highest, points: of the logarithmic grid of lambda.
        select_by: ``auroc``, ``accuracy`` or ``nll`` on validation; ties go to the larger lambda.
        max_iterations, tolerance: of `fit_path`.
        cache: what the runs of one job share; None fits without it.

    Returns:
        the probe; its statistics are ``probe/lambda``, ``probe/converged`` and ``probe/at_edge`` (whether no smaller,
        or no larger, strength was a worse choice), the last two 0 or 1.
    """
    del seed
    options = (task, classes, lowest, highest, points, select_by, max_iterations, tolerance)
    key = _hash_inputs(train, val, repr(options))

    def fit() -> FittedProbe:
        lambdas = np.geomspace(highest, lowest, points)
        labels_ML = train.labels_NL if val is None else val.labels_NL
        # One thread: two take 1.3 times (40,000 x 512 features) to 17 times (2,804 x 512) as long for a step.
        with threadpool_limits(1, "blas"), show_progress("Fitting the probe", "regressions") as update:
            count = itertools.count(1)
            total = (
                points * (train.labels_NL.shape[1] if task == MULTI_LABEL else 1) * (FOLDS + 1 if val is None else 1)
            )
            path = partial(
                fit_path,
                task=task,
                classes=classes,
                lambdas=lambdas,
                max_iterations=max_iterations,
                tolerance=tolerance,
                on_fit=lambda: update(next(count), total),
            )
            candidates = list_candidates(train, val, task, classes, path)
            choice = choose(candidates, labels_ML, task, lambdas, select_by, max_iterations)
            chosen = choice.candidate
            return FittedProbe(
                chosen.fit.weight_KD, chosen.fit.bias_K, choice.stats, chosen.probabilities_MK, choice.notes
            )

    # The fit does not depend on the seed: all seeds share the fit on the whole training split.
    return fit() if cache is None else cache.get_or_build("probe", key, fit)


def sgd(
    train: Labelled,
    val: Labelled | None,
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


def _hash_inputs(train: Labelled, val: Labelled | None, options: str) -> str:
    """Return a digest of everything that a fit depends on."""
    digest = hashlib.sha256(options.encode())
    for part in (train, val):
        for array in () if part is None else (part.features_ND, part.labels_NL):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
