"""Metrics on validation during pretraining. They use labels, but the encoder learns nothing from them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_accuracy, knn_scores
from simclr_med.metrics import classification
from simclr_med.models.encoders import Encoder
from simclr_med.types import MULTI_LABEL, KnnSets, Task

# Regularisation strength of the probe, which is not chosen. Ours: from the middle of the grid of stage=probe.
LAMBDA = 1e-2
MAX_ITERATIONS, TOLERANCE = 50, 1e-4


def measure_encoder(
    encoder: Encoder,
    sets: KnnSets | None,
    to_float: Callable[[Tensor], Tensor],
    device: torch.device,
    k: int,
    temperature: float,
) -> dict[str, float]:
    """Return ``val/knn_accuracy`` and ``val/probe_auroc`` of an encoder, in [0, 1], as far as they are defined.

    Args:
        encoder: to measure.
        sets: the bank holds the neighbours and the images that the linear probe is fitted to; None without labels.
        to_float, device: as in `extract_features`.
        k, temperature: as in `knn_scores`.
    """
    if sets is None:
        return {}
    bank_ND, queries_MD = (
        extract_features(encoder, images, to_float, device) for images in (sets.bank_NHWC, sets.queries_MHWC)
    )
    scores_MK = knn_scores(queries_MD, bank_ND, sets.bank_targets_NK.to(device), k, temperature)
    found = {
        "val/knn_accuracy": knn_accuracy(scores_MK, sets.targets_MK.to(device)),
        "val/probe_auroc": _probe_auroc(bank_ND.cpu().numpy(), queries_MD.cpu().numpy(), sets),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _probe_auroc(bank_ND: np.ndarray, queries_MD: np.ndarray, sets: KnnSets) -> float:
    """Return the AUROC of logistic regression with a fixed strength; NaN if it is not defined or features diverged."""
    # Imported here, because scikit-learn would delay the first training step.
    from threadpoolctl import threadpool_limits

    from simclr_med.evaluation.logistic_path import Labelled, fit_path

    if not (np.isfinite(bank_ND).all() and np.isfinite(queries_MD).all()):
        return math.nan
    labels_NL, labels_ML = (_to_labels(sets.task, targets) for targets in (sets.bank_targets_NK, sets.targets_MK))
    classes = sets.targets_MK.shape[1]
    with threadpool_limits(1, "blas"):  # as in stage=probe: faster, and the same for any number of threads
        (fit,) = fit_path(
            Labelled(bank_ND, labels_NL), sets.task, classes, np.array([LAMBDA]), MAX_ITERATIONS, TOLERANCE
        )
    return classification.auroc(sets.task, labels_ML, fit.predict_proba(sets.task, queries_MD))


def _to_labels(task: Task, targets_NK: Tensor) -> np.ndarray:
    """Return labels in medmnist's layout, int64 [N, L]."""
    if task == MULTI_LABEL:
        return targets_NK.long().numpy()
    return targets_NK.argmax(dim=1, keepdim=True).numpy()


def fallen_metrics(metrics: dict[str, float]) -> list[str]:
    """Return the names of the monitors whose value is below the one before pretraining (``<name>_before``)."""
    names = ("val/knn_accuracy", "val/probe_auroc")
    return [name for name in names if metrics.get(name, math.nan) < metrics.get(f"{name}_before", math.nan)]
