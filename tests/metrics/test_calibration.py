"""Temperature scaling, the calibration error of a perfect model, abstaining, and prediction sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from simclr_med.metrics.calibration import (
    find_set_threshold,
    fit_temperature,
    measure_scaled_error,
    measure_sets,
    scale_temperature,
    simulate_perfect_calibration,
    trace_risk_coverage,
)
from simclr_med.metrics.classification import calibration_error, nll
from simclr_med.types import Task

MULTI: Task = "multi-label, binary-class"


def draw(images: int, classes: int = 4, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N, 1] of a calibrated model, and its probabilities as if divided by a temperature."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(images, classes))
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    labels = (rng.random((images, 1)) > cumulative).sum(axis=1, keepdims=True)
    return np.minimum(labels, classes - 1), softmax(logits / temperature, axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_undoes_a_known_one(temperature: float) -> None:
    labels, probabilities = draw(20_000, temperature=1 / temperature)
    found = fit_temperature("multi-class", labels, probabilities)
    assert found == pytest.approx(temperature, rel=0.05)
    scaled = scale_temperature("multi-class", probabilities, found)
    assert scaled.sum(axis=1) == pytest.approx(1)
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert measure_scaled_error("multi-class", labels, probabilities, found) < 0.02


def test_the_temperature_has_the_lowest_likelihood_of_a_grid() -> None:
    labels, probabilities = draw(300, temperature=0.4)
    found = fit_temperature("multi-class", labels, probabilities)
    losses = {
        t: log_loss(labels[:, 0], scale_temperature("multi-class", probabilities, t), labels=range(4))
        for t in (found, *np.geomspace(0.1, 10, 50))
    }
    assert min(losses, key=losses.__getitem__) == found


def test_several_labels_share_one_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    labels = (rng.random(logits.shape) < expit(logits)).astype(np.int64)
    found = fit_temperature(MULTI, labels, expit(3 * logits))
    assert found == pytest.approx(3, rel=0.05)
    assert nll(MULTI, labels, scale_temperature(MULTI, expit(3 * logits), found)) < nll(
        MULTI, labels, expit(3 * logits)
    )


@pytest.mark.parametrize("images", [200, 2000])
def test_the_error_of_a_perfect_model_is_that_of_simulated_labels(images: int) -> None:
    _, probabilities = draw(images)
    found = simulate_perfect_calibration("multi-class", probabilities)
    errors = [calibration_error("multi-class", *draw(images, seed=seed)) for seed in range(60)]
    assert found.mean == pytest.approx(np.mean(errors), rel=0.15)
    assert 0 < found.mean < found.high
    assert np.mean([error > found.high for error in errors]) < 0.15


def test_risk_coverage_ends_at_the_error_rate_and_rises() -> None:
    labels, probabilities = draw(4000)
    risks = trace_risk_coverage("multi-class", labels, probabilities)
    assert risks[-1] == pytest.approx((probabilities.argmax(axis=1) != labels[:, 0]).mean())
    assert risks[400] < risks[2000] < risks[-1]


def test_equally_confident_predictions_enter_together() -> None:
    probabilities = np.full((4, 2), 0.5) + np.array([0.2, -0.2])
    labels = np.array([[0], [1], [0], [1]])
    assert trace_risk_coverage("multi-class", labels, probabilities).tolist() == [0.5] * 4


def test_sets_hold_the_true_class_as_often_as_promised() -> None:
    """The mean coverage over calibration sets lies between 1 - a and 1 - a + 1 / (M + 1) (Vovk et al. 2005)."""
    covered = []
    for seed in range(300):
        labels, probabilities = draw(99, seed=2 * seed)
        threshold = find_set_threshold(labels, probabilities, 0.9)
        covered.append(measure_sets(*draw(100, seed=2 * seed + 1), threshold)[0].mean())
    assert 0.89 <= np.mean(covered) <= 0.92


def test_the_threshold_is_a_rank_of_the_true_classes() -> None:
    probabilities = np.array([[p, 1 - p] for p in np.arange(1, 10) / 10])
    labels = np.zeros((9, 1), dtype=np.int64)
    assert find_set_threshold(labels, probabilities, 0.9) == pytest.approx(0.1)  # the first of 9, not the 0.9th
    assert find_set_threshold(labels[:8], probabilities[:8], 0.9) == 0
    inside, sizes = measure_sets(labels, probabilities, 0.35)
    assert inside.sum() == 6
    assert sizes.tolist() == [1, 1, 1, 2, 2, 2, 1, 1, 1]
