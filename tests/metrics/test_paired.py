"""The paired tests equal scipy's or their definition, and keep their error rate without a difference."""

from __future__ import annotations

import numpy as np
import pytest
from run_folders import drawn
from scipy import stats

from simclr_med.metrics import classification
from simclr_med.metrics.classification import infer_task
from simclr_med.metrics.paired import adjust_holm, compare_paired, compute_image_accuracy, compute_image_auroc

GENERATOR = np.random.default_rng(3)
BINARY = (GENERATOR.integers(0, 2, (50, 1)), np.round(GENERATOR.random((50, 1)), 1))
CASES = {
    "multi-class": drawn(1.0, 0),
    "binary-class": (BINARY[0], np.hstack([1 - BINARY[1], BINARY[1]])),
    "multi-label, binary-class": (GENERATOR.integers(0, 2, (60, 4)), np.round(GENERATOR.random((60, 4)), 1)),
}


def test_one_seed_equals_scipys_t_test_over_images() -> None:
    a, b = GENERATOR.random((2, 1, 40))
    found, theirs = compare_paired(a, b), stats.ttest_rel(a[0], b[0])
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-12)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1))


def test_equal_images_equal_scipys_t_test_over_seeds() -> None:
    a, b = (np.repeat(GENERATOR.random((5, 1)), 30, axis=1) for _ in range(2))
    found, theirs = compare_paired(a, b), stats.ttest_rel(a[:, 0], b[:, 0])
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-9)


def test_equal_seeds_equal_scipys_t_test_over_images() -> None:
    a, b = (np.repeat(GENERATOR.random((1, 30)), 4, axis=0) for _ in range(2))
    assert compare_paired(a, b).p == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue, rel=1e-9)


def test_variance_components_equal_explicit_loops() -> None:
    """The variance components of a small table, computed with loops."""
    gap = GENERATOR.normal(size=(3, 6)) + GENERATOR.normal(size=(3, 1)) + GENERATOR.normal(size=6)
    s, n = gap.shape
    mean = gap.mean()
    ms_seed = n * sum((gap[i].mean() - mean) ** 2 for i in range(s)) / (s - 1)
    ms_image = s * sum((gap[:, j].mean() - mean) ** 2 for j in range(n)) / (n - 1)
    rest = sum((gap[i, j] - gap[i].mean() - gap[:, j].mean() + mean) ** 2 for i in range(s) for j in range(n))
    ms_rest = rest / ((s - 1) * (n - 1))
    assert min(ms_seed, ms_image) > ms_rest
    total = ms_seed + ms_image - ms_rest
    freedom = total**2 / (ms_seed**2 / (s - 1) + ms_image**2 / (n - 1) + ms_rest**2 / ((s - 1) * (n - 1)))
    p = 2 * stats.t.sf(abs(mean) / np.sqrt(total / (s * n)), freedom)
    assert compare_paired(gap, np.zeros_like(gap)).p == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("by_seed", [0.0, 0.2])
def test_false_positive_rate_is_five_percent(by_seed: float) -> None:
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        gap = generator.normal(size=(4, 60)) + 0.5 * generator.normal(size=60) + by_seed * generator.normal(size=(4, 1))
        wrong += compare_paired(gap, np.zeros_like(gap)).p < 0.05
    assert wrong <= 34  # 8.5 %; three standard errors above 5 %


@pytest.mark.parametrize(("a", "p"), [(0.5, 1.0), (0.7, 0.0)])
def test_constant_differences(a: float, p: float) -> None:
    found = compare_paired(np.full((2, 5), a), np.full((2, 5), 0.5))
    assert found.p == p


def test_different_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="one shape"):
        compare_paired(np.zeros((2, 5)), np.zeros((2, 4)))


@pytest.mark.parametrize("task", CASES)
def test_mean_of_the_image_values_is_the_score(task: str) -> None:
    labels, probabilities = CASES[task]
    assert infer_task(labels, probabilities) == task
    assert compute_image_accuracy(task, labels, probabilities).mean() == pytest.approx(
        classification.accuracy(task, labels, probabilities)
    )
    assert compute_image_auroc(task, labels, probabilities).mean() == pytest.approx(
        classification.auroc(task, labels, probabilities)
    )


def test_variance_of_the_pseudo_values_is_delongs() -> None:
    """Two-sided placements by their definition (DeLong et al. 1988, equation 5), ties half."""
    labels, probabilities = CASES["binary-class"]
    truth, score = labels[:, 0] == 1, probabilities[:, 1]
    wins = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    ones, zeros = wins.shape
    variance = wins.mean(axis=1).var() / ones + wins.mean(axis=0).var() / zeros
    values = compute_image_auroc("binary-class", labels, probabilities)
    assert values.var() / len(values) == pytest.approx(variance)


def test_classes_without_images_are_left_out() -> None:
    labels, probabilities = drawn(1.0, 0, classes=3)
    kept = labels[:, 0] != 2
    labels, probabilities = labels[kept], probabilities[kept]
    values = compute_image_auroc("multi-class", labels, probabilities)
    assert values.mean() == pytest.approx(classification.auroc("multi-class", labels, probabilities))
    assert np.isnan(compute_image_auroc("multi-class", labels * 0, probabilities)).all()


def test_holm_equals_r() -> None:
    """The values are those of p.adjust in R."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert len(adjust_holm([])) == 0
