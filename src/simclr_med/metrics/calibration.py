"""Calibration beside its reference values, temperature scaling, and prediction sets.

Shape letters: N test images, M validation images, K classes, L label columns, P predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from simclr_med.metrics.classification import BINS, calibration_error, y_pred
from simclr_med.types import MULTI_LABEL, Task

_SMALLEST = 1e-7  # probability; its logarithm is a logit
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class PerfectCalibration:
    """The calibration error that a perfectly calibrated model would show on as many images.

    Attributes:
        mean: expected value; it is above 0, since the error is a mean of absolute values.
        high: 95th percentile; a larger error is significant.
    """

    mean: float
    high: float


def simulate_perfect_calibration(
    task: Task, probabilities_NK: np.ndarray, draws: int = 100, seed: int = 0
) -> PerfectCalibration:
    """Return the error if every prediction were correct with the probability that the model states.

    Each draw decides for each prediction whether it is correct, with its confidence (the test of consistency of
    Bröcker and Smith 2007, and of Vaicenavicius et al. 2019).
    """
    confidence_P = _find_confidence(task, probabilities_NK)
    bin_P = np.minimum((confidence_P * BINS).astype(np.int64), BINS - 1)
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(draws):
        is_correct_P = generator.random(len(confidence_P)) < confidence_P
        gaps = np.bincount(bin_P, is_correct_P - confidence_P, BINS)
        errors.append(float(np.abs(gaps).sum() / len(confidence_P)))
    return PerfectCalibration(float(np.mean(errors)), float(np.percentile(errors, 95)))


def fit_temperature(task: Task, labels_ML: np.ndarray, probabilities_MK: np.ndarray) -> float:
    """Return the temperature that minimises the negative log likelihood of validation images (Guo et al. 2017).

    A temperature above 1 makes a model less confident. The ranking of classes does not change.
    """
    logits_MK = _to_logits(task, probabilities_MK)
    rows = np.arange(len(labels_ML))

    def measure_nll(log_temperature: float) -> float:
        scaled_MK = logits_MK / np.exp(log_temperature)
        if task == MULTI_LABEL:
            return float(np.logaddexp(0, np.where(labels_ML == 1, -scaled_MK, scaled_MK)).mean())
        return float(-log_softmax(scaled_MK, axis=1)[rows, labels_ML[:, 0]].mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(measure_nll, bounds=(low, high), method="bounded").x))


def scale_temperature(task: Task, probabilities_NK: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities after the division of their logits by the temperature, float64 [N, K]."""
    logits_NK = _to_logits(task, probabilities_NK) / temperature
    return np.asarray(expit(logits_NK) if task == MULTI_LABEL else softmax(logits_NK, axis=1))


def measure_scaled_error(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray, temperature: float) -> float:
    """Return the expected calibration error after temperature scaling."""
    return calibration_error(task, labels_NL, scale_temperature(task, probabilities_NK, temperature))


def trace_risk_coverage(task: Task, labels_NL: np.ndarray, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return the error rate of the most confident predictions, float64 [P], for 1 to all P of them.

    The curve of El-Yaniv and Wiener 2010: what remains wrong if the model abstains from the others. Predictions of
    equal confidence enter together, with their mean. A multi-label set has a prediction for each image and label.
    """
    confidence_P = _find_confidence(task, probabilities_NK)
    true = labels_NL if task == MULTI_LABEL else labels_NL[:, 0]
    is_wrong_P = (y_pred(task, probabilities_NK) != true).ravel().astype(np.float64)
    _, group_P, count = np.unique(-confidence_P, return_inverse=True, return_counts=True)
    shared_P = (np.bincount(group_P, is_wrong_P) / count)[group_P]
    ordered_P = shared_P[np.argsort(-confidence_P, kind="stable")]
    return np.asarray(np.cumsum(ordered_P) / np.arange(1, len(ordered_P) + 1))


def find_set_threshold(labels_ML: np.ndarray, probabilities_MK: np.ndarray, coverage: float) -> float:
    """Return the least probability of a class in a prediction set, by split-conformal calibration.

    A set has every class with at least this probability. It has the true class of a new image from the same source
    with a probability of at least ``coverage`` (Vovk et al. 2005; the score 1 - p of Sadinle et al. 2019), if the model
    did not learn from the M validation images. 0 where M is too small: then a set has all classes.

    Args:
        labels_ML: int [M, 1], of a task with one label for each image.
        probabilities_MK: of the validation images.
        coverage: in (0, 1).
    """
    ordered_M = np.sort(probabilities_MK[np.arange(len(labels_ML)), labels_ML[:, 0]])
    # The rank of the probability, from the lowest; the product of 10 and 0.1 is 1 and not 0.99.
    rank = int(np.floor((len(labels_ML) + 1) * (1 - coverage) + 1e-9))
    return float(ordered_M[rank - 1]) if rank >= 1 else 0.0


def measure_sets(
    labels_NL: np.ndarray, probabilities_NK: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the set of each image has its true class, bool [N], and the number of classes in it, int [N]."""
    in_set_NK = probabilities_NK >= threshold
    return in_set_NK[np.arange(len(labels_NL)), labels_NL[:, 0]], in_set_NK.sum(axis=1)


def _find_confidence(task: Task, probabilities_NK: np.ndarray) -> np.ndarray:
    """Return the probability of each prediction, float64 [P], as in `classification.reliability_bins`."""
    p = probabilities_NK.astype(np.float64)
    return np.asarray(np.maximum(p, 1 - p).ravel() if task == MULTI_LABEL else p.max(axis=1))


def _to_logits(task: Task, probabilities_NK: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities_NK.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(logit(p) if task == MULTI_LABEL else np.log(p))
