"""The inverse power law: its fit, its inverse, and the spread of the draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from simclr_med.metrics.crossed import encoder_term, image_term, seed_term
from simclr_med.metrics.learning_curve import PowerLaw, draw_means, fit_draws, fit_power_law

LABELS = np.array([50.0, 100, 250, 500, 1000])


def evaluate(labels: np.ndarray, ceiling: float, drop: float, decay: float) -> np.ndarray:
    """Return equation 1 of Figueroa et al. 2012 with unscaled labels."""
    return ceiling - drop * labels**-decay


@pytest.mark.parametrize(("ceiling", "drop", "decay"), [(0.9, 2.0, 0.5), (0.95, 1.0, 0.3), (0.8, 5.0, 1.0)])
def test_the_fit_recovers_an_exact_law(ceiling: float, drop: float, decay: float) -> None:
    scores = evaluate(LABELS, ceiling, drop, decay)
    law = fit_power_law(LABELS, scores, np.full(5, 0.01))
    assert law.ceiling == pytest.approx(ceiling, abs=1e-3)
    assert law.decay == pytest.approx(decay, rel=0.02)
    for labels in (2000.0, 10_000.0):
        assert law.predict(labels) == pytest.approx(evaluate(np.array(labels), ceiling, drop, decay), abs=1e-3)


def test_budgets_with_small_errors_decide() -> None:
    scores = evaluate(LABELS, 0.9, 2.0, 0.5)
    scores[2] += 0.1
    errors = np.array([1e-3, 1e-3, 10.0, 1e-3, 1e-3])
    assert fit_power_law(LABELS, scores, errors).predict(2000) == pytest.approx(0.9 - 2 * 2000**-0.5, abs=2e-3)


def test_no_other_law_has_smaller_weighted_squares() -> None:
    """An independent search from several starts finds nothing better; with noise, curves may be flat or fall."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        scores = evaluate(LABELS, rng.uniform(0.7, 0.99), rng.uniform(0, 1), rng.uniform(0.1, 1.5))
        errors = rng.uniform(0.002, 0.02, 5)
        scores += rng.normal(size=5) * errors
        law = fit_power_law(LABELS, scores, errors)
        found = np.square((evaluate(LABELS / law.unit, law.ceiling, law.drop, law.decay) - scores) / errors).sum()
        for start in rng.uniform((0.5, 0.0, 0.01), (1.0, 0.5, 3.0), (10, 3)):
            other = least_squares(
                lambda law, scores, errors: (evaluate(LABELS / 250, *law) - scores) / errors,
                start,
                bounds=([0.0, 0.0, 0.01], [1.0, np.inf, 3.0]),
                args=(scores, errors),
            )
            assert found <= 2 * other.cost + 1e-3  # in units of the squared standard errors


def test_labels_for_a_score_are_the_inverse() -> None:
    law = PowerLaw(0.9, 0.1, 0.5, 300)
    for labels in (100.0, 1000.0, 5000.0):
        assert law.labels_for(law.predict(labels)) == pytest.approx(labels)
    assert law.labels_for(0.9) == law.labels_for(0.95) == np.inf
    assert PowerLaw(0.9, 0.0, 0.5, 300).labels_for(0.8) == 0
    assert PowerLaw(0.9, 0.1, 1e-4, 300).labels_for(0.89) > 1e100  # no overflow
    assert PowerLaw(0.9, 1e-3, 1e-4, 300).labels_for(0.5) == pytest.approx(0)


def test_flat_and_falling_curves_have_a_fit() -> None:
    for scores in (np.full(5, 0.8), np.array([0.8, 0.79, 0.78, 0.77, 0.76])):
        law = fit_power_law(LABELS, scores, np.full(5, 0.01))
        assert abs(law.predict(2000) - scores.mean()) < 0.03


def test_fewer_budgets_than_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 budgets, found 2"):
        fit_power_law(LABELS[:2], np.array([0.7, 0.8]), np.full(2, 0.01))


def test_draws_have_the_variance_of_the_crossed_terms() -> None:
    rng = np.random.default_rng(0)
    # Many encoders and seeds, so that Student's t is nearly normal.
    table = 0.8 + rng.normal(0, 0.01, (60, 1, 1)) + rng.normal(0, 0.02, (1, 80, 1)) + rng.normal(0, 0.3, 50)
    means = draw_means([table, table + 0.05], [0.2, 0.0], 4000, seed=1)
    seeds, (encoders,) = seed_term(table.mean(axis=(0, 2)), 0.2), encoder_term(table.mean(axis=(1, 2)))
    assert seeds is not None
    images = float(table.mean(axis=(0, 1)).var(ddof=1)) / 50
    assert image_term(table.mean(axis=0)).variance == pytest.approx(images, rel=1e-6)  # there is no interaction
    expected = seeds.variance + encoders.variance + images
    assert means[:, 0].var() == pytest.approx(expected, rel=0.1)
    assert means.mean(axis=0) == pytest.approx([table.mean(), table.mean() + 0.05], abs=0.005)
    assert np.corrcoef(means.T)[0, 1] > 0.9  # the budgets share encoders, seeds and images


def test_draws_are_the_same_each_time_and_each_has_a_law() -> None:
    rng = np.random.default_rng(0)
    tables = [score + rng.normal(0, 0.02, (2, 3, 20)) for score in evaluate(LABELS, 0.9, 2.0, 0.5)]
    one, two = (draw_means(tables, [0.0] * 5, 20, seed=4) for _ in range(2))
    assert (one == two).all()
    laws = fit_draws(LABELS, one, one.std(axis=0))
    assert len(laws) == 20
    assert all(0 <= law.ceiling <= 1 for law in laws)
