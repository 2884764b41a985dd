"""The variance of a mean over encoders, seeds and images equals its definition, and its tests keep their error rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from simclr_med.metrics.crossed import Estimate, Term, encoder_term, estimate_difference, image_term, seed_term

GENERATOR = np.random.default_rng(3)


def test_terms_equal_explicit_loops() -> None:
    """The mean squares of a small table, computed with loops."""
    gap = GENERATOR.normal(size=(3, 6)) + GENERATOR.normal(size=(3, 1)) + 3 * GENERATOR.normal(size=6)
    s, n = gap.shape
    mean = gap.mean()
    ms_seed = n * sum((gap[i].mean() - mean) ** 2 for i in range(s)) / (s - 1)
    ms_image = s * sum((gap[:, j].mean() - mean) ** 2 for j in range(n)) / (n - 1)
    rest = sum((gap[i, j] - gap[i].mean() - gap[:, j].mean() + mean) ** 2 for i in range(s) for j in range(n))
    ms_rest = rest / ((s - 1) * (n - 1))
    assert ms_image > ms_rest
    found = estimate_difference(gap[None], np.zeros((1, s, n)))
    assert found.mean == pytest.approx(mean)
    assert found.seeds == Term(pytest.approx(ms_seed / (s * n)), s - 1)
    assert found.images == Term(pytest.approx((ms_image - ms_rest) / (s * n)), n - 1)
    assert found.encoders == ()


def test_encoders_add_a_term_for_each_side_or_one_for_their_differences() -> None:
    a, b = GENERATOR.normal(size=(3, 4, 9)), GENERATOR.normal(size=(3, 4, 9))
    means = a.mean(axis=(1, 2)), b.mean(axis=(1, 2))
    separate = estimate_difference(a, b).encoders
    assert separate == tuple(Term(pytest.approx(side.var(ddof=1) / 3), 2) for side in means)
    (paired,) = estimate_difference(a, b, is_paired=True).encoders
    assert paired.variance == pytest.approx((means[0] - means[1]).var(ddof=1) / 3)
    assert estimate_difference(a, b[:1]).encoders == separate[:1]


def test_one_seed_equals_scipys_t_test_over_images() -> None:
    a, b = GENERATOR.random((2, 40))
    found, theirs = estimate_difference(a[None, None], b[None, None]), stats.ttest_rel(a, b)
    assert found.seeds is None
    assert found.p_value() == pytest.approx(theirs.pvalue, rel=1e-9)
    low, high = theirs.confidence_interval(0.9)
    assert found.half_width(0.9) == pytest.approx((high - low) / 2, rel=1e-9)


def test_equal_images_equal_scipys_t_test_over_seeds() -> None:
    a, b = (np.repeat(GENERATOR.random((5, 1)), 30, axis=1) for _ in range(2))
    found, theirs = estimate_difference(a[None], b[None]), stats.ttest_rel(a[:, 0], b[:, 0])
    assert found.p_value() == pytest.approx(theirs.pvalue, rel=1e-6)
    low, high = theirs.confidence_interval()
    assert found.half_width(0.95) == pytest.approx((high - low) / 2, rel=1e-6)


@pytest.mark.parametrize("images", [19, 399])
@pytest.mark.parametrize(("variance", "freedom"), [(0.01, 2), (1, 1), (1, 4.5), (20, 40), (5, 200)])
def test_p_value_is_that_of_the_sum_of_two_students(variance: float, freedom: float, images: int) -> None:
    """The convolution of both densities, integrated numerically."""
    found = Estimate(3.0, Term(1.0, images), Term(variance, freedom))
    half = found.half_width(0.99)

    def tails(distance: float) -> float:
        few = stats.t(freedom, scale=np.sqrt(variance))
        inside = lambda x: stats.t.pdf(x, images) * (few.cdf(x - distance) + few.cdf(-x - distance))  # noqa: E731
        breaks = [-30, -10, -3, 0, 3, 10, 30, *(k * distance for k in (-1, 1) if distance < 30)]
        return sum(integrate.quad(inside, *pair)[0] for pair in itertools.pairwise(sorted(breaks)))

    assert found.p_value() == pytest.approx(tails(3.0), rel=1e-5)
    assert tails(half) == pytest.approx(0.01, rel=1e-5)
    assert found.p_value(3.0 - half) == pytest.approx(0.01, rel=1e-6)


def test_several_small_terms_have_satterthwaites_degrees_of_freedom() -> None:
    found = Estimate(2.0, Term(0.0, 99), Term(0.5, 2), (Term(0.3, 4), Term(0.2, 1)))
    freedom = 1.0 / (0.5**2 / 2 + 0.3**2 / 4 + 0.2**2 / 1)
    assert found.p_value() == pytest.approx(2 * stats.t.sf(2.0, freedom), rel=1e-6)


def test_overlapping_subsets_have_nadeau_and_bengios_factor() -> None:
    values = np.array([0.7, 0.8, 0.75])
    variance, overlap = values.var(ddof=1), 0.2 / 0.8
    assert seed_term(values, 0.2) == Term(
        pytest.approx(variance * (1 / 3 + overlap)), 2, pytest.approx(variance * overlap)
    )
    assert seed_term(values, 1.0) == seed_term(values) == Term(pytest.approx(values.var(ddof=1) / 3), 2)
    assert seed_term(values[:1]) is None
    assert encoder_term(values[:1]) == ()


def test_factor_of_overlapping_subsets_holds_for_subsets_of_a_pool() -> None:
    """The variance of the mean of S subsets' means, over new pools; each subset has half of its pool."""
    generator = np.random.default_rng(0)
    means, claimed = [], []
    for _ in range(1500):
        pool = generator.normal(size=20)
        subsets = np.array([generator.choice(pool, 10, replace=False).mean() for _ in range(3)])
        means.append(subsets.mean())
        term = seed_term(subsets, 0.5)
        assert term is not None
        claimed.append(term.variance)
    assert np.mean(claimed) == pytest.approx(np.var(means), rel=0.15)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("ratio", [0.0, 1.0, 16.0])
def test_error_rate_without_a_difference(seeds: int, ratio: float) -> None:
    """At most 6 % at a level of 5 %, and at most twice the level of 1 %, with three standard errors of 500 draws."""
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(500):
        gap = generator.normal(size=60) + np.sqrt(ratio * seeds / 60) * generator.normal(size=(seeds, 1))
        gap = gap + 0.5 * generator.normal(size=(seeds, 60))
        p_values.append(estimate_difference(gap[None], np.zeros((1, seeds, 60))).p_value())
    assert np.mean(np.array(p_values) < 0.05) <= 0.06 + 3 * np.sqrt(0.06 * 0.94 / 500)
    assert np.mean(np.array(p_values) < 0.01) <= 0.02 + 3 * np.sqrt(0.02 * 0.98 / 500)


def test_more_seeds_and_encoders_divide_their_terms() -> None:
    found = Estimate(2.0, Term(1.0, 99), Term(0.5, 2), (Term(0.3, 4),)).resize(seeds=6, encoders=15)
    assert found == Estimate(2.0, Term(1.0, 99), Term(0.25, 5), (Term(pytest.approx(0.1), 14),))


def test_a_larger_sample_stays_as_it_is() -> None:
    found = Estimate(2.0, Term(1.0, 99), Term(0.5, 5), (Term(0.3, 1),))
    assert found.resize(4, 4) == Estimate(2.0, Term(1.0, 99), Term(0.5, 5), (Term(pytest.approx(0.15), 3),))


def test_more_seeds_do_not_lower_the_variance_of_one_pool() -> None:
    """Six seeds instead of three: the factor is 1/6 and not 1/3, and share / (1 - share) as before."""
    values = np.array([0.7, 0.8, 0.75])
    more = Estimate(0.75, Term(1.0, 99), seed_term(values, 0.5)).resize(seeds=6).seeds
    assert more is not None
    assert (more.variance, more.freedom) == (pytest.approx(values.var(ddof=1) * (1 / 6 + 1)), 5)


@pytest.mark.parametrize(("gap", "p"), [(0.0, 1.0), (0.2, 0.0)])
def test_constant_differences(gap: float, p: float) -> None:
    found = estimate_difference(np.full((1, 2, 5), 0.5 + gap), np.full((1, 2, 5), 0.5))
    assert found.p_value() == p
    assert found.half_width(0.95) == 0


def test_image_term_is_never_negative() -> None:
    assert image_term(np.array([[1.0, -1.0], [-1.0, 1.0]])) == Term(0.0, 1)


def test_different_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        estimate_difference(np.zeros((1, 2, 5)), np.zeros((1, 2, 4)))
