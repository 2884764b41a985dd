"""Intervals over test images equal their definition, stay in [0, 1], and keep their coverage at the ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from run_folders import drawn
from scipy import stats

from simclr_med.metrics.image_values import compute_image_auroc
from simclr_med.metrics.intervals import compute_test_intervals, logit_interval, wilson_interval

NAMES = {"accuracy", "auroc", "balanced_accuracy", "macro_f1"}


@pytest.mark.parametrize(("hits", "count"), [(0, 12), (7, 12), (39, 40), (40, 40)])
def test_wilson_equals_scipy(hits: int, count: int) -> None:
    theirs = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_images_say_nothing() -> None:
    assert wilson_interval(0.5, 0) == (0.0, 1.0)


def test_auroc_has_delongs_error_on_the_logit_scale() -> None:
    labels, probabilities = drawn(1.0, 0, classes=2)
    values = compute_image_auroc("binary-class", labels, probabilities)
    score, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    low, high = compute_test_intervals("binary-class", labels, probabilities, 0, 0)["auroc"]
    shift = 1.959964 * error / (score * (1 - score))
    assert [np.log(x / (1 - x)) for x in (low, score, high)] == pytest.approx(
        np.log(score / (1 - score)) + shift * np.array([-1, 0, 1]), rel=1e-6
    )


def test_nothing_is_certain_where_every_prediction_is_right() -> None:
    labels, probabilities = drawn(60.0, 0, images=40, classes=2)
    rarest = min(np.bincount(labels[:, 0]))
    found = compute_test_intervals("binary-class", labels, probabilities, 100, 0)
    assert set(found) == NAMES
    assert found["accuracy"] == pytest.approx(wilson_interval(1.0, 40))
    for name in NAMES - {"accuracy"}:
        assert found[name] == pytest.approx(wilson_interval(1.0, rarest))


def test_labels_of_an_image_are_not_independent() -> None:
    """Three equal label columns are worth no more images than one."""
    one = np.random.default_rng(0).integers(0, 2, (80, 1))
    scores = np.clip(one + np.random.default_rng(1).normal(scale=0.6, size=one.shape), 0, 1)
    task = "multi-label, binary-class"
    three = compute_test_intervals(task, one.repeat(3, axis=1), scores.repeat(3, axis=1), 0, 0)
    single = compute_test_intervals(task, one.repeat(2, axis=1), scores.repeat(2, axis=1), 0, 0)
    assert three["accuracy"] == pytest.approx(single["accuracy"])


@pytest.mark.parametrize(("score", "half"), [(0.001, 0.003), (0.5, 0.8), (0.999, 0.003), (0.9, 2.6)])
def test_logit_interval_stays_inside(score: float, half: float) -> None:
    low, high = logit_interval(score, half)
    assert 0 < low < score < high < 1
    assert not score - half > 0 or not score + half < 1  # on the scale of the score it would not


def test_no_auroc_without_both_labels() -> None:
    labels, probabilities = drawn(1.0, 0, classes=2)
    assert set(compute_test_intervals("binary-class", labels * 0, probabilities, 0, 0)) == {"accuracy"}


def test_coverage_of_auroc_at_the_ceiling() -> None:
    """AUROC 0.96 with 156 images, of which 42 are negative: at least 93 %, with three standard errors of 300 draws."""
    generator = np.random.default_rng(0)
    labels = np.repeat([1, 0], [114, 42])[:, None]
    separation = np.sqrt(2) * stats.norm.ppf(0.96)
    inside = []
    for _ in range(300):
        positive = stats.norm.cdf(generator.normal(size=156) + separation * (labels[:, 0] - 0.5))
        low, high = compute_test_intervals("binary-class", labels, np.stack([1 - positive, positive], axis=1), 0, 0)[
            "auroc"
        ]
        inside.append(low <= 0.96 <= high)
    assert np.mean(inside) >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 300)
