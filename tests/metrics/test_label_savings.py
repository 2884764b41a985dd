"""The labels with which another method reaches a score, and the confidence set around them."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.metrics.crossed import estimate_difference
from simclr_med.metrics.label_savings import find_equal_labels

BUDGETS = (50.0, 100.0, 400.0)


def make_table(mean: float, rng: np.random.Generator, encoders: int = 3, seeds: int = 5, noise: float = 0.02):
    """Return values [E, S, 200] with effects of encoders, seeds and images around a mean."""
    effects = rng.normal(0, noise, (encoders, 1, 1)) + rng.normal(0, noise, (1, seeds, 1))
    return mean + effects + rng.normal(0, 0.3, 200) + rng.normal(0, 0.05, (encoders, seeds, 200))


def make_exact(mean: float) -> np.ndarray:
    """Return values [1, 3, 2] whose mean is exact, with a small variance in all directions."""
    return mean + np.array([[-1e-4], [0.0], [1e-4]]) + np.array([-1e-4, 1e-4])


def test_the_curve_is_linear_over_the_logarithm() -> None:
    curve = [(labels, make_exact(score)) for labels, score in zip(BUDGETS, (0.6, 0.7, 0.8), strict=True)]
    found = find_equal_labels(make_exact(0.75)[None], [(n, table[None]) for n, table in curve])
    assert found.labels == pytest.approx(200, rel=1e-3)  # the geometric middle of 100 and 400
    assert found.low <= found.labels <= found.high
    assert find_equal_labels(make_exact(0.6)[None], [(n, table[None]) for n, table in curve]).labels == 50


def test_scores_outside_the_curve_have_no_number() -> None:
    curve = [(labels, make_exact(score)[None]) for labels, score in zip(BUDGETS, (0.6, 0.7, 0.8), strict=True)]
    above = find_equal_labels(make_exact(0.9)[None], curve)
    assert (above.labels, above.low, above.high) == (np.inf, 400, np.inf)
    below = find_equal_labels(make_exact(0.5)[None], curve)
    assert (below.labels, below.low, below.high) == (50, 0, 50)


def test_the_set_holds_exactly_the_budgets_that_a_test_accepts() -> None:
    rng = np.random.default_rng(3)
    curve = [(labels, make_table(score, rng)) for labels, score in zip(BUDGETS, (0.7, 0.74, 0.8), strict=True)]
    method = make_table(0.75, rng)
    found = find_equal_labels(method, curve, share=0.1)
    for labels, table in curve:
        is_accepted = estimate_difference(method, table, share=0.1).p_value() >= 0.05
        assert is_accepted == (found.low <= labels <= found.high)


def test_the_set_covers_the_truth() -> None:
    """60 draws; the binomial chance of fewer than 52 sets with the truth is 0.006 at a coverage of 0.95."""
    covered = 0
    for draw in range(60):
        rng = np.random.default_rng([7, draw])
        shared = rng.normal(0, 0.3, 200)
        curve = [
            (labels, make_table(score, rng) + shared - shared.mean())
            for labels, score in zip(BUDGETS, (0.65, 0.75, 0.85), strict=True)
        ]
        found = find_equal_labels(make_table(0.8, rng), curve)  # the truth is 200 labels
        covered += found.low <= 200 <= found.high
    assert covered >= 52


def test_fewer_than_two_budgets_or_other_encoders_are_refused() -> None:
    table = make_exact(0.7)[None]
    with pytest.raises(ValueError, match="two budgets"):
        find_equal_labels(table, [(50, table)])
    with pytest.raises(ValueError, match="same encoders"):
        find_equal_labels(table, [(50, table), (100, np.concatenate([table, table]))])


def test_the_ends_of_the_set_are_where_the_test_has_its_level() -> None:
    """Not the last of a few points that the test accepts, which would make every interval too short."""
    rng = np.random.default_rng(5)
    low, high = make_table(0.6, rng), make_table(0.9, rng)
    method = make_table(0.75, rng)
    found = find_equal_labels(method, [(50.0, low), (5000.0, high)])
    assert 50 < found.low < found.labels < found.high < 5000
    for end in (found.low, found.high):
        weight = np.log(end / 50) / np.log(100)
        table = (1 - weight) * low + weight * high
        assert estimate_difference(method, table).p_value() == pytest.approx(0.05, rel=0.05)
